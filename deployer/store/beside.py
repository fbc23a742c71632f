"""A place beside the store, for a file that is filled before it gets its name."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deployer.core.errors import StoreFailed
from deployer.core.undo import afterwards


@contextmanager
def place_beside(folder: Path, prefix: str) -> Iterator[Path]:
    """Yield a new folder in a state folder, and remove it afterwards; what a killed command left there goes first.

    The caller is the only one that uses the prefix at a time. Raise StoreFailed.
    """
    for left in folder.glob(f"{prefix}*"):
        shutil.rmtree(left)
    try:
        place = Path(tempfile.mkdtemp(prefix=prefix, dir=folder))
    except OSError as error:
        raise StoreFailed(f"{folder} cannot be written: {error.strerror}", "check its permissions and space") from None
    with afterwards(lambda: shutil.rmtree(place)):
        yield place
