"""Programs that the lab calls."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

SECONDS = 300  # for the slowest of them, apt, where much else is done
PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
NEEDED = ("dockerd", "sshd", "ssh", "ssh-keygen", "haproxy", "ip", "nft", "unshare", "nsenter", "setpriv", "mkfs.ext4")


def missing() -> str:
    """Return what the lab cannot do without and is not here; empty when all is here."""
    if os.geteuid() != 0:
        return "machines can only be made by root"
    absent = [name for name in NEEDED if not shutil.which(name, path=PATH)]
    absent += ["systemd as /sbin/init"] if "systemd" not in str(Path("/sbin/init").resolve()) else []
    return f"not installed: {', '.join(absent)}" if absent else ""


def call(
    *command: str | Path, check: bool = True, folder: Path | None = None, seconds: float = SECONDS
) -> subprocess.CompletedProcess[str]:
    """Run a program and capture what it says. Raises RuntimeError with it on a failure, unless `check` is false."""
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        timeout=seconds,
        cwd=folder,
        env={**os.environ, "PATH": PATH},
    )
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} failed with {done.returncode}: {done.stderr or done.stdout}")
    return done
