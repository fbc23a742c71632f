"""The command line of a running HAProxy: what it loads, as /proc tells it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from deployer.core.clock import Deadline
from deployer.core.errors import Refused
from deployer.drivers.traffic.haproxy.master import MasterSocket


def refuse_not_loaded(folder: Path, master: MasterSocket, deadline: Deadline) -> None:
    """Raise Refused when the proxy does not load the folder.

    A process that cannot be looked at, or that has no master socket (the proxy may live in a container, where process
    ids mean others), tells nothing and is not refused.
    """
    process = master.pid(deadline)
    words = _words(process)
    if "-S" in words and not _names(words, _stands_in(process), folder):
        raise Refused(
            f"the HAProxy at {master.path} runs, but not with `-f {folder}`",
            f"add `-f {folder}` to its command line and restart it",
        )


def _names(words: tuple[str, ...], where: Path, folder: Path) -> bool:
    wanted = folder.resolve()
    return any((where / word).resolve() == wanted for word in words if word)


def _words(process: int) -> tuple[str, ...]:
    try:
        return tuple(Path(f"/proc/{process}/cmdline").read_text(errors="replace").split("\0"))
    except OSError:
        return ()


def _stands_in(process: int) -> Path:
    with suppress(OSError):  # a process of another user does not say where it stands; most paths are absolute anyway
        return Path(f"/proc/{process}/cwd").readlink()
    return Path("/")
