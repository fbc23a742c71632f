"""Writing a bundle: the same contents give the same bytes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from deployer.bundle import head, tape
from deployer.bundle.contents import Contents, blob_name, digest_of
from deployer.bundle.index import LAYOUT, Index
from deployer.core import files
from deployer.core.errors import Refused

Source = Callable[[str], Iterable[bytes]]  # the content of a part, by its digest


def stream(contents: Contents, source: Source, left_out: Collection[str] = (), signature: str = "") -> Iterator[bytes]:
    """Return the bytes of a bundle without the parts that are left out. Raise Refused for a part that has changed."""
    data = contents.data()
    index = Index(digest_of(data), tuple(sorted(left_out)), signature)
    named = index.data(contents)
    if contents.tool:
        yield from tape.member(head.NAME, head.SIZE, [head.content(contents.tool)])
    yield from tape.member("oci-layout", len(LAYOUT), [LAYOUT])
    yield from tape.member("index.json", len(named), [named])
    yield from tape.member(blob_name(index.contents), len(data), [data])
    for digest, part in contents.parts().items():
        if digest not in left_out:
            yield from tape.member(blob_name(digest), part.size, _proven(digest, source(digest)))
    yield tape.END


def _proven(digest: str, content: Iterable[bytes]) -> Iterator[bytes]:
    total = hashlib.sha256()
    for chunk in content:
        total.update(chunk)
        yield chunk
    if f"sha256:{total.hexdigest()}" != digest:
        raise Refused("what belongs to the bundle was changed while it was written", "make it again")


def write(path: Path, content: Iterable[bytes], prove: Callable[[Path], None] = lambda _written: None) -> None:
    """Write a file whole or not at all, once it is proven. Raise Refused where the disk does not take it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        with os.fdopen(files.new(temporary), "wb") as file:
            for chunk in content:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        prove(temporary)
        temporary.replace(path)
        files.sync(path.parent)
    except OSError as error:
        raise Refused(f"{path} cannot be written: {error.strerror}", "see `df` and the rights of its folder") from error
    finally:
        with suppress(OSError):
            temporary.unlink()
