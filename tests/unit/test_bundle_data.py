"""Data in a bundle: what its archives may have, and what is known of a restore."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import docker.errors
import pytest

from deployer.app.bundles.restore import _Restoring
from deployer.app.operations.context import AppContext
from deployer.app.operations.restored import Restored, RestoredData, refuse_half_restored
from deployer.bundle import data
from deployer.bundle.contents import Contents, Data
from deployer.bundle.reader import opened
from deployer.bundle.writer import stream
from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import DeadlinePassed, Refused, StoreFailed
from deployer.core.filelock import FileLock
from deployer.drivers.ports.data import Restoring, SavedData
from deployer.drivers.runtime.docker.data import DockerData
from deployer.drivers.runtime.docker.engine import Engine
from deployer.manifest.sections import Mount
from tests.bundles import part, written
from tests.disks import mounted
from tests.memory import FakeClock

ROOT = data.FOLDER


def archive(*members: tuple[str, bytes, dict[str, Any]], form: int = tarfile.GNU_FORMAT) -> bytes:
    """Write a tar archive; a member is its name, its kind, and what else it says of itself."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=form) as written_to:
        for name, kind, said in members:
            member = tarfile.TarInfo(name)
            member.type = kind
            text = said.pop("text", b"")
            member.size = len(text)
            for key, value in said.items():
                setattr(member, key, value)
            written_to.addfile(member, io.BytesIO(text))
    return made.getvalue()


def folder() -> tuple[str, bytes, dict[str, Any]]:
    return (ROOT, tarfile.DIRTYPE, {"mode": 0o755})


def pieces(content: bytes) -> Iterator[bytes]:
    for at in range(0, len(content), 700):
        yield content[at : at + 700]


def normalised(content: bytes) -> bytes:
    target = io.BytesIO()
    data.normalise(pieces(content), target)
    return target.getvalue()


def test_owners_modes_links_and_whole_seconds_are_kept_and_names_of_users_are_not() -> None:
    text = b"rows" * 1000
    long = f"{ROOT}/{'deep/' * 40}file"
    said: dict[str, Any] = {"uid": 70, "gid": 2**33, "mode": 0o4640, "mtime": 12.75, "uname": "ann"}
    xattr = {"SCHILY.xattr.user.a": "b", "atime": "1.5"}
    kept = archive(
        folder(),
        (long, tarfile.REGTYPE, {"text": text, "pax_headers": xattr, **said}),
        (f"{ROOT}/again", tarfile.LNKTYPE, {"linkname": long}),
        (f"{ROOT}/away", tarfile.SYMTYPE, {"linkname": "/etc/passwd"}),
        form=tarfile.PAX_FORMAT,
    )
    with tarfile.open(fileobj=io.BytesIO(normalised(kept))) as found:
        members = {member.name: member for member in found}
        file = members[long]
        assert (file.uid, file.gid, file.mode, file.mtime, file.uname) == (70, 2**33, 0o4640, 12, "")
        assert file.pax_headers.get("SCHILY.xattr.user.a") == "b"
        assert "atime" not in file.pax_headers
        assert members[f"{ROOT}/again"].linkname == long
        content = found.extractfile(file)
        assert content is not None
        assert content.read() == text
    assert normalised(normalised(kept)) == normalised(kept)


@pytest.mark.parametrize(
    ("name", "kind", "said", "why"),
    [
        ("/etc/passwd", tarfile.REGTYPE, {}, "is outside of the data"),
        (f"{ROOT}/../up", tarfile.REGTYPE, {}, "is outside of the data"),
        ("other", tarfile.REGTYPE, {}, "is outside of the data"),
        (f"{ROOT}/link", tarfile.LNKTYPE, {"linkname": "/etc/shadow"}, "'/etc/shadow' is outside of the data"),
        (f"{ROOT}/disk", tarfile.BLKTYPE, {"devmajor": 8}, "is neither a file, a folder nor a link"),
        (f"{ROOT}/null", tarfile.CHRTYPE, {"devmajor": 1}, "is neither a file, a folder nor a link"),
        (f"{ROOT}/pipe", tarfile.FIFOTYPE, {}, "is neither a file, a folder nor a link"),
    ],
)
def test_what_no_bundle_has_is_refused_when_it_is_made_and_when_it_is_read(
    name: str, kind: bytes, said: dict[str, Any], why: str, tmp_path: Path
) -> None:
    strange = archive(folder(), (name, kind, said))
    with pytest.raises(ValueError, match=why):
        normalised(strange)
    with opened(bundle_of(tmp_path, strange)) as found, pytest.raises(Refused, match=f"the data of /data: .*{why}"):
        found.check()


def bundle_of(tmp_path: Path, *archives: bytes, names: tuple[str, ...] = ("/data", "/more")) -> Path:
    parts = tuple(Data(name=n, kind="mount", part=part(a)) for n, a in zip(names, archives, strict=False))
    contents = Contents(format=1, service="shop", version="1", runtime="docker", data_parts=parts)
    blobs = {part(a).digest: a for a in archives}
    return written(tmp_path, b"".join(stream(contents, lambda digest: [blobs[digest]])))


def test_data_is_a_part_as_any_other_and_a_delta_leaves_it_out(tmp_path: Path) -> None:
    sound = normalised(archive(folder(), (f"{ROOT}/rows", tarfile.REGTYPE, {"text": b"rows"})))
    place = bundle_of(tmp_path, sound)
    with opened(place) as found:
        found.check()
        (saved,) = found.contents.data_parts
        assert b"".join(found.chunks(saved.part.digest)) == sound
        assert found.contents.optional() == {saved.part.digest}
        assert not found.contents.needed()
    content = bytearray(place.read_bytes())
    content[content.index(b"rows") + 600] ^= 1
    place.write_bytes(content)
    with opened(place) as found, pytest.raises(Refused, match="is damaged"):
        found.check()


def test_data_with_a_name_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="some data is named twice"):
        bundle_of(tmp_path, b"one", b"two", names=("/data", "/data"))


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    with opened(bundle_of(tmp_path, b"no archive" * 200)) as found, pytest.raises(Refused, match="not a tar archive"):
        found.check()


def test_no_more_is_read_of_an_archive_than_shows_whether_it_has_something() -> None:
    assert not data.holds_something(pieces(archive(folder())))
    read = 0

    def counted() -> Iterator[bytes]:
        nonlocal read
        for piece in pieces(archive(folder(), (f"{ROOT}/much", tarfile.REGTYPE, {"text": bytes(10_000_000)}))):
            read += len(piece)
            yield piece

    assert data.holds_something(counted())
    assert read < 100_000


def test_a_restore_that_did_not_end_is_told_until_it_is_done(tmp_path: Path) -> None:
    house = cast("AppContext", SimpleNamespace(store=SimpleNamespace(folder=tmp_path)))
    known = RestoredData(house, "shop")
    refuse_half_restored(house, "shop")
    known.set("/data", Restored("sha256:1", whole=True, source="rows"))
    known.set("/more", Restored("sha256:2", whole=False, source="more"))
    with pytest.raises(Refused, match="the restore of /more was interrupted") as error:
        refuse_half_restored(house, "shop")
    assert str(known.file) in error.value.hint
    known.set("/more", None)
    refuse_half_restored(house, "shop")
    assert known.all() == {"/data": Restored("sha256:1", whole=True, source="rows")}
    assert json.loads(known.file.read_text()) == {"/data": {"digest": "sha256:1", "source": "rows", "whole": True}}
    known.file.write_text("[")
    with pytest.raises(Refused, match="cannot be read"):
        known.all()


def test_what_was_restored_finds_no_room(tmp_path: Path) -> None:
    house = cast("AppContext", SimpleNamespace(store=SimpleNamespace(folder=tmp_path)))
    with mounted(tmp_path, "64k"):
        (tmp_path / "zeros").write_bytes(bytes(64 << 10))
        with pytest.raises(StoreFailed, match=r"shop\.json cannot be written: No space left on device"):
            RestoredData(house, "shop").set("/data", Restored("sha256:1", whole=True, source="rows"))
        assert RestoredData(house, "shop").all() == {}


class Place:
    """Where data is restored, without an engine: what is behind a name, and what refuses."""

    kind = "mount"

    def __init__(self, source: str, *, refuses: bool = False, full: bool = False) -> None:
        self._source, self._refuses, self._full = source, refuses, full
        self.asked: list[bool] = []  # whether each restore was said to be begun

    def source(self, _name: str) -> str:
        return self._source

    def is_free(self, _name: str, _image: str, _deadline: Deadline, *, overwrite: bool) -> bool:
        return overwrite or not self._full

    def restore(self, _name: str, _image: str, _saved: SavedData, _deadline: Deadline, how: Restoring) -> None:
        self.asked.append(how.begun)
        if self._refuses:
            raise Refused("something uses it")
        how.begins()
        raise Refused("the disk is full")


def restoring(tmp_path: Path, place: Place, *, overwrite: bool = False) -> Any:
    house = SimpleNamespace(store=SimpleNamespace(folder=tmp_path), tell=lambda *_: None)
    brought = SimpleNamespace(
        contents=SimpleNamespace(service="shop"), has=lambda _: True, chunks=lambda _: [], path="x"
    )
    deadline = Deadline.after(SystemClock(), 5)
    return _Restoring(cast("AppContext", house), cast("Any", brought), cast("Any", place), "", overwrite, deadline)


def saved(digest: str = "sha256:1") -> Any:
    return SimpleNamespace(name="/data", kind="mount", part=SimpleNamespace(digest=digest, size=1))


def test_a_restore_that_is_refused_leaves_no_mark_on_data_that_is_whole(tmp_path: Path) -> None:
    wish = restoring(tmp_path, Place("rows", refuses=True, full=True), overwrite=True)
    with pytest.raises(Refused, match="something uses it"):
        wish.restore(saved())
    assert wish.known.all() == {}


def test_what_was_begun_in_another_volume_is_not_done_again_over_this_one(tmp_path: Path) -> None:
    first = restoring(tmp_path, Place("rows", full=True))
    with pytest.raises(Refused, match="the disk is full"):
        first.restore(saved())
    assert first.known.all() == {"/data": Restored("sha256:1", whole=False, source="rows")}
    assert first.is_needed(saved())
    with pytest.raises(Refused, match="there is data for /data already"):
        restoring(tmp_path, Place("others", full=True)).is_needed(saved())
    again = Place("rows")
    with pytest.raises(Refused, match="the disk is full"):
        restoring(tmp_path, again).restore(saved())
    assert again.asked == [True]


# -- deadlines of what goes through an engine


class DrippingEngine:
    """An engine whose archive comes in pieces, each of them within the time-out of a read."""

    def __init__(self, clock: FakeClock, content: bytes) -> None:
        self._clock, self._content = clock, content
        self.read, self.removed = 0, 0
        self.api = SimpleNamespace(containers=list, get_archive=self._archive, api_version="1.43")
        self.containers = SimpleNamespace(get=self._none, create=lambda *_, **__: self)
        self.id = "made"

    def _none(self, name: str) -> Any:
        raise docker.errors.NotFound(name)

    def _archive(self, *_: Any, **__: Any) -> Any:
        def drip() -> Iterator[bytes]:
            for piece in pieces(self._content):
                self._clock.sleep(10)
                self.read += 1
                yield piece

        return drip(), {}

    def remove(self, **_: Any) -> None:
        self.removed += 1

    def close(self) -> None:
        pass


def dripping(scratch: Path, clock: FakeClock) -> tuple[DockerData, DrippingEngine]:
    engine = DrippingEngine(clock, archive(folder(), (f"{ROOT}/big", tarfile.REGTYPE, {"text": bytes(200_000)})))
    mounts = [Mount(source="/srv/data", target="/data")]
    return DockerData(mounts, scratch, Engine(lambda *_: cast(Any, engine), "unix:///dev/null")), engine


def test_data_that_comes_slowly_is_not_read_beyond_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployer.drivers.runtime.docker.engine.knock", lambda *_: None)
    clock = FakeClock()
    service_data, engine = dripping(tmp_path, clock)
    with pytest.raises(DeadlinePassed, match="read /srv/data: not within 60 s"):
        service_data.save("/data", "image", tmp_path / "saved", Deadline.after(clock, 60))
    assert (engine.read, engine.removed) == (6, 1)


def test_no_lock_of_data_is_waited_for_beyond_the_deadline(tmp_path: Path) -> None:
    clock = FakeClock()
    service_data, _ = dripping(tmp_path, clock)
    with FileLock(tmp_path / ".lock").held(0), pytest.raises(StoreFailed, match="held by another command"):
        service_data.is_free("/data", "image", Deadline.after(clock, 0), overwrite=False)
