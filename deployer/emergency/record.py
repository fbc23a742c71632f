"""What an emergency did, until it runs in the store: a few lines in a file (`STATE/emergency/SERVICE.moved`).

Only who and why are kept: that users are elsewhere than the store says is read from the proxy.
"""

from __future__ import annotations

import os
import time

from deployer.core.local_host import whoami
from deployer.emergency import endpoint

TYPE_CHECKING = False  # typing and collections.abc take longer than what is done here
if TYPE_CHECKING:
    from collections.abc import Callable


class EmergencyRecord:
    """Who moved users at the proxy, when (Unix seconds), by which command and why."""

    __slots__ = ("at", "by", "command", "reason")

    def __init__(self, command: str, at: float, by: str, reason: str) -> None:
        self.command, self.at, self.by, self.reason = command, at, by, reason


def write(state: str, service: str, command: str, reason: str, *, last: bool) -> None:
    """Write down what is done now; `last` makes it last through a power cut, which takes longer than moving users.

    A disk that is full must not stop it: the store will say so.
    """
    text = f"command {command}\nat {time.time():.3f}\nby {whoami()}\nreason {' '.join(reason.split())}\n"
    try:
        replace(_path(state, service), text, 0o600, last=last)
    except OSError:
        return


def read(state: str, service: str) -> EmergencyRecord | None:
    """Read what an emergency left; None when everything is in the store."""
    try:
        with open(_path(state, service), encoding="utf-8") as file:  # noqa: PTH123 - pathlib costs
            found = dict(line.rstrip("\n").split(" ", 1) for line in file)
        return EmergencyRecord(found["command"], float(found["at"]), found["by"], found["reason"])
    except (OSError, ValueError, KeyError):
        return None


def remove(state: str, service: str) -> None:
    """Forget it: the store knows now."""
    _discard(_path(state, service))


def replace(path: str, text: str, mode: int, *, last: bool = True, still: Callable[[], bool] | None = None) -> bool:
    """Write a file as a whole, and make it last if asked: `deployer.core.files.replace` without what that imports.

    With `still`, only where that is true when the text is ready to take its place; return whether it was.
    """
    folder, _, name = path.rpartition("/")
    temporary = f"{folder}/.{name}.{os.getpid()}.{time.monotonic_ns()}"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            os.fchmod(descriptor, mode)
            data = text.encode()
            while data:
                data = data[os.write(descriptor, data) :]
            if last:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if still is not None and not still():
            _discard(temporary)
            return False
        os.rename(temporary, path)  # noqa: PTH104 - the same
    except BaseException:
        _discard(temporary)
        raise
    if last:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    return True


def _discard(path: str) -> None:
    try:
        os.unlink(path)  # noqa: PTH108 - the same
    except OSError:
        return


def _path(state: str, service: str) -> str:
    return f"{endpoint.path(state, service)}.moved"
