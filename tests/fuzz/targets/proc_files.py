"""/proc of processes with names of their own choice, and of those that are not there any more."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from unittest import mock

from deployer.drivers.traffic.haproxy import command_line
from deployer.supervisor import proc

FIELDS = " S 1 1 1 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 777 1 1 1\n"


def check(data: bytes) -> None:
    """A process may choose its name and its arguments; everything else is the kernel's."""
    name, _, words = data.partition(b"\xff")
    stat = b"4711 (" + name[:15] + b")" + FIELDS.encode()
    with _kernel_says(stat):
        assert proc.Process.of(4711) == proc.Process(4711, 777)
    with _kernel_says(words):
        assert command_line._names(command_line._words(4711), Path("/"), Path("/nowhere/at/all")) in (True, False)


def _kernel_says(data: bytes) -> AbstractContextManager[object]:
    def read_text(path: Path, encoding: str = "utf-8", errors: str = "strict") -> str:
        return data.decode(encoding, errors)

    return mock.patch.multiple(Path, read_bytes=lambda path: data, read_text=read_text)
