"""File systems of a test's own: small, so that they can be filled, and writable only as long as they may be."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.services import require

SECONDS = 10


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[None]:
    """Have a disk of that size at a folder, for its owner alone."""
    require("root")
    options = f"mode=700,size={size}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "dptest", str(folder)], check=True, timeout=SECONDS)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=SECONDS)


def remount(folder: Path, how: str) -> None:
    """Make it `ro`, so that nobody can write to it, or `rw` again."""
    subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True, timeout=SECONDS)
