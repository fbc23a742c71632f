"""A look into a layer before an engine unpacks it: it must be a plain tar archive that is no larger than it seems."""

from __future__ import annotations

import io
import tarfile
from typing import BinaryIO

_PACKED = {b"\x1f\x8b": "gzip", b"\x28\xb5": "zstd", b"BZ": "bzip2", b"\xfd7": "xz"}


class Region(io.BytesIO):
    """The next `size` bytes of a file."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        super().__init__()
        self._file, self._left = file, size

    def read(self, size: int | None = -1, /) -> bytes:
        """Read at most so many bytes."""
        data = self._file.read(self._left if size is None or size < 0 else min(size, self._left))
        self._left -= len(data)
        return data


def check(file: BinaryIO, size: int) -> None:
    """Read a layer from where the file is. Raise ValueError for one that unpacks to more than its own size."""
    start = file.tell()
    if packed := _PACKED.get(file.read(min(2, size))):
        raise ValueError(f"it is compressed ({packed}), and a bundle has plain layers")
    file.seek(start)
    try:
        with tarfile.open(fileobj=Region(file, size), mode="r|") as archive:
            for member in archive:
                if member.issparse():
                    raise ValueError(f"{member.name[:100]!a} has holes: it would unpack to {member.size:,} bytes")
    except (tarfile.TarError, EOFError, OverflowError) as error:
        raise ValueError(f"it is not a tar archive: {error}") from None
