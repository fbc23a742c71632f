"""A snapshot as one file that a playbook can unpack elsewhere."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = ".archive-"


@contextmanager
def packed(snapshot: Path, folder: Path) -> Iterator[Path]:
    """Pack the content of a snapshot: the same bytes each time, owned by root, readable by everybody."""
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=folder) as place:
        archive = Path(place) / "files.tar"
        with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
            for path in sorted(snapshot.rglob("*")):
                tar.add(path, str(path.relative_to(snapshot)), recursive=False, filter=_plain)
        yield archive


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = "root"
    member.mode = 0o755 if member.isdir() or member.mode & 0o111 else 0o644
    return member
