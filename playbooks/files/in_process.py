"""`in_process.py INSTANCE COMMAND...`: run a command where a process instance runs, with its environment."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main(instance: str, command: list[str]) -> str:
    """Become the command; says why when that is not possible."""
    wanted = f"DEPLOYER_INSTANCE={instance}".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            environ = (entry / "environ").read_bytes().split(b"\0")
            if wanted not in environ:
                continue
            folder = (entry / "cwd").readlink()
        except OSError:  # gone meanwhile, or not ours to look at
            continue
        os.chdir(folder)
        os.execvpe(command[0], command, dict(pair.split(b"=", 1) for pair in environ if b"=" in pair))  # noqa: S606
    return f"no process of {instance} runs here"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
