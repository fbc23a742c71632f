"""Data that goes along in a bundle: volumes of a service that is stopped, as they are, and never over other data."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest
from docker.types import Mount as EngineMount

from deployer.bundle.collect import part_of
from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import Refused
from deployer.drivers.ports.data import Restoring, SavedData
from deployer.drivers.runtime.docker.data import DockerData
from deployer.manifest.sections import Mount
from tests.lab import image
from tests.live.bundling import bundle, hosts
from tests.live.conftest import Make
from tests.live.shop import Shop
from tests.live.volumes import ROWS, Volume, entry
from tests.ports import free_port

pytestmark = pytest.mark.live
TARGET = "/var/lib/shop"


@pytest.fixture
def moving(make_shop: Make, engine: docker.DockerClient) -> Iterator[tuple[Shop, Shop, Volume, Volume]]:
    """Yield a service that keeps data in a volume, and the host it moves to, where another volume is for it."""
    here, there = hosts(make_shop, "docker")
    here.version("1.0")
    known = next(k for k, names in image.named(engine).items() if f"{here.name}:1.0" in names)
    mine, theirs = Volume(engine, known), Volume(engine, known)
    here.write(replicas=1, mounts=[{"source": mine.name, "target": TARGET}])
    (there.folder / f"{here.name}.here.yml").write_text(f"mounts: [{{source: {theirs.name}, target: {TARGET}}}]\n")
    mine.write(*ROWS)
    try:
        yield here, there, mine, theirs
    finally:
        for shop in (here, there):
            shop._run("down", "-y", "--service", here.name)
        for volume in (mine, theirs):
            volume.remove()


@pytest.mark.long("two bundles and a deploy", every_change=True)
def test_what_a_stopped_service_wrote_goes_along_as_it_is(moving: tuple[Shop, Shop, Volume, Volume]) -> None:
    here, there, mine, theirs = moving
    place, again = bundle(here, "1.0", "--with", "data"), here.folder / "again.bundle"
    here.deploy("bundle", "make", "-o", str(again), "--version", "1.0", "--with", "data")
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(place.read_bytes()).digest()
    shown = json.loads(here.deploy("bundle", "show", str(place), "--output", "json").stdout)
    assert [data["name"] for data in shown["data"]] == [TARGET]
    assert f"{TARGET}, {shown['data'][0]['size']:,} bytes, sha256:" in here.deploy("bundle", "show", str(place)).stdout

    there.deploy("plan", "--from", str(place))
    assert not theirs.exists
    there.deploy("up", "--from", str(place))
    assert there.get().text.strip() == "1.0"
    assert theirs.read() == mine.read()
    assert theirs.read()["at"][:4] == (tarfile.DIRTYPE, 0o700, 70, 71)
    assert "nothing to do" in there.deploy("up", "--from", str(place)).stdout


@pytest.mark.long("a deploy and two bundles")
def test_data_is_saved_of_nothing_that_runs(moving: tuple[Shop, Shop, Volume, Volume]) -> None:
    here, _, mine, _ = moving
    here.deploy("up", "--version", "1.0")
    place = here.folder / "1.0.bundle"
    make = ("bundle", "make", "-o", str(place), "--version", "1.0", "--with", "data")
    said = here.deploy(*make, expect=2).stderr
    assert f"is running with {mine.name}" in said
    assert "`deploy down`" in said
    assert not place.exists()
    here.deploy("down", "-y")
    here.deploy(*make)


@pytest.mark.long("five deploys from bundles with data")
def test_data_that_is_there_stays_unless_a_word_says_otherwise(moving: tuple[Shop, Shop, Volume, Volume]) -> None:
    here, there, mine, theirs = moving
    place = bundle(here, "1.0", "--with", "data")
    theirs.write(entry("at"), entry("at/other", tarfile.REGTYPE, b"of this host"))
    said = there.deploy("up", "--from", str(place), expect=2).stderr
    assert f"there is data for {TARGET} already" in said
    assert "--data keep deploys with the data that is there, --data overwrite replaces it" in said
    assert set(theirs.read()) == {"at", "at/other"}

    there.deploy("up", "--from", str(place), "--data", "keep")
    assert set(theirs.read()) == {"at", "at/other"}
    said = there.deploy("up", "--from", str(place), "--data", "overwrite", expect=2).stderr
    assert f"is running with {theirs.name}" in said
    there.deploy("down", "-y", "--service", here.name)
    there.deploy("up", "--from", str(place), "--data", "overwrite")
    assert theirs.read() == mine.read()

    plain = here.folder / "plain.bundle"
    here.deploy("bundle", "make", "-o", str(plain), "--version", "1.0")
    assert "has no data" in there.deploy("up", "--from", str(plain), "--data", "keep", expect=2).stderr


@pytest.mark.long("two bundles with data, deployed")
def test_a_delta_leaves_unchanged_data_out(moving: tuple[Shop, Shop, Volume, Volume]) -> None:
    here, there, mine, theirs = moving
    mine.write(*ROWS, entry("at/much", tarfile.REGTYPE, os.urandom(500_000)))
    first = bundle(here, "1.0", "--with", "data")
    second = bundle(here, "2.0", "--with", "data", "--since", str(first))
    assert second.stat().st_size < 400_000 < 500_000 < first.stat().st_size
    assert "parts that are not here" in there.deploy("up", "--from", str(second), expect=2).stderr
    there.deploy("up", "--from", str(first))
    theirs.write(entry("at"), entry("at/new", tarfile.REGTYPE, b"since then"))
    there.deploy("bluegreen", "--bake", "0", "--from", str(second))
    assert there.get().text.strip() == "2.0"
    assert "at/new" in theirs.read()


@pytest.mark.long("three bundles that are refused")
def test_what_has_no_data_is_told_so(moving: tuple[Shop, Shop, Volume, Volume]) -> None:
    here, _, mine, _ = moving
    place = here.folder / "1.bundle"
    make = ("bundle", "make", "-o", str(place), "--version", "1.0", "--with", "data")
    mine.write(*ROWS, entry("at/pipe", tarfile.FIFOTYPE))
    assert "'deployer-data/pipe' is neither a file, a folder nor a link" in here.deploy(*make, expect=2).stderr
    mine.remove()
    assert f"the engine has no volume {mine.name}" in here.deploy(*make, expect=2).stderr
    here.write(mounts=[])
    assert "the service has no data of its own" in here.deploy(*make, expect=2).stderr
    assert not place.exists()
    assert not [path for path in here.folder.iterdir() if path.name.startswith(".data-")]


@pytest.mark.long("two deploys, of which the disk takes one")
def test_a_volume_that_is_full_is_told_and_the_same_command_continues(
    moving: tuple[Shop, Shop, Volume, Volume],
) -> None:
    here, there, mine, theirs = moving
    mine.write(*ROWS, entry("at/much", tarfile.REGTYPE, os.urandom(3_000_000)))
    place = bundle(here, "1.0", "--with", "data")
    small = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}
    theirs.client.volumes.create(theirs.name, driver="local", driver_opts=small)
    said = there.deploy("up", "--from", str(place), expect=2).stderr
    size = json.loads(here.deploy("bundle", "show", str(place), "--output", "json").stdout)["data"][0]["size"]
    assert f"{theirs.name} cannot be filled with {size:,} bytes: " in said
    assert "no space left" in said
    assert "make room there" in said
    assert there.containers() == []
    theirs.client.volumes.get(theirs.name).remove()
    there.deploy("up", "--from", str(place))
    assert theirs.read() == mine.read()


@pytest.mark.long("a deploy, a bundle, and a deploy of it")
def test_a_service_moves_with_its_data(
    moving: tuple[Shop, Shop, Volume, Volume], capsys: pytest.CaptureFixture[str]
) -> None:
    """The steps of docs/bundles.md, To another host: what users meet is the time between the two last."""
    here, there, mine, theirs = moving
    there.port = free_port()  # an address of the other machine
    there.url = f"http://127.0.0.1:{there.port}"
    with (there.folder / f"{here.name}.here.yml").open("a") as settings:
        settings.write(f"traffic: {{listen: '127.0.0.1:{there.port}'}}\n")
    here.write(single=True, strategy="recreate")
    here.deploy("up", "--version", "1.0")
    trial = bundle(here, "1.0")
    there.deploy("plan", "--from", str(trial))  # the image is there before anybody waits for it
    began = time.monotonic()
    here.deploy("down", "-y")
    place = here.folder / "data.bundle"
    here.deploy("bundle", "make", "-o", str(place), "--version", "1.0", "--with", "data", "--since", str(trial))
    there.deploy("up", "--from", str(place))
    assert there.get().text.strip() == "1.0"
    pause = time.monotonic() - began
    assert place.stat().st_size < trial.stat().st_size
    assert theirs.read() == mine.read()
    with capsys.disabled():
        print(f"\nmoved with its data in {pause:.1f} s")


@pytest.mark.long("folders that are filled through the engine")
def test_a_folder_of_the_host_is_filled_and_never_emptied(state: Path, engine: docker.DockerClient) -> None:
    """Through the driver: what only a restore that was killed leaves is filled again, all else is left alone."""
    known = image.build(f"{state.name}:1", version="1", client=engine)
    mine, theirs = state / "mine", state / "theirs"
    mine.mkdir()
    (mine / "rows").write_text("first")
    os.chown(mine / "rows", 70, 71)
    within = Deadline.after(SystemClock(), 60)

    def data_of(folder: Path) -> DockerData:
        return DockerData([Mount(source=str(folder), target=TARGET)], state / "scratch")

    try:
        data_of(mine).save(TARGET, known, state / "saved", within)
        content = (state / "saved").read_bytes()
        saved = SavedData(part_of(state / "saved").digest, len(content), lambda: [content])
        with pytest.raises(Refused, match=r"theirs cannot be mounted: .*does not exist"):
            data_of(theirs).restore(TARGET, known, saved, within, how(overwrite=False, begun=False))
        theirs.mkdir()
        (theirs / "rows").write_text("half")
        assert not data_of(theirs).is_free(TARGET, known, within, overwrite=True)
        with pytest.raises(Refused, match="theirs is not empty"):
            data_of(theirs).restore(TARGET, known, saved, within, how(overwrite=True, begun=False))
        assert (theirs / "rows").read_text() == "half"
        data_of(theirs).restore(TARGET, known, saved, within, how(overwrite=False, begun=True))
        assert ((theirs / "rows").read_text(), (theirs / "rows").stat().st_uid) == ("first", 70)
        (theirs / "more").write_text("of somebody else")
        with pytest.raises(Refused, match=r"theirs does not read back as written: sha256:\w+ instead of sha256:"):
            data_of(theirs).restore(TARGET, known, saved, within, how(overwrite=False, begun=True))
        with pytest.raises(Refused, match=r"/elsewhere, where the service mounts nothing"):
            data_of(theirs).is_free("/elsewhere", known, within, overwrite=False)
    finally:
        image.remove(known, engine)


def how(*, overwrite: bool = False, begun: bool = False, begins: Callable[[], None] = lambda: None) -> Restoring:
    return Restoring(overwrite, begun, begins)


@pytest.mark.long("a volume that a container has")
def test_a_volume_that_a_container_has_is_refused_before_the_restore_begins(
    state: Path, engine: docker.DockerClient
) -> None:
    known, volume = image.build(f"{state.name}:1", version="1", client=engine), f"{state.name}-rows"
    mount = EngineMount(TARGET, volume)
    owner = engine.containers.create(known, mounts=[mount], name=f"{state.name}-owner")
    begun, within = list[str](), Deadline.after(SystemClock(), 60)
    data = DockerData([Mount(source=volume, target=TARGET)], state / "scratch")
    try:
        never = SavedData("sha256:1", 1, lambda: [b"1"])
        for overwrite in (True, False):
            wish = how(overwrite=overwrite, begun=not overwrite, begins=lambda: begun.append("began"))
            with pytest.raises(Refused, match=f"volume {volume} belongs to {state.name}-owner"):
                data.restore(TARGET, known, never, within, wish)
        assert begun == []
    finally:
        owner.remove(force=True)
        engine.volumes.get(volume).remove()
        image.remove(known, engine)


# What a process does that is killed in the middle of a restore: it ends where it would send the second piece of data.
KILLED = """
import os, signal
from deployer.drivers.ports.data import SavedData
from deployer.drivers.runtime.docker.data import DockerData
whole = DockerData._fill
def half(self, client, container, source, saved, deadline):
    def pieces():
        for number, piece in enumerate(piece for piece in saved.read() if piece):
            if number:
                os.kill(os.getpid(), signal.SIGKILL)
            yield piece
    whole(self, client, container, source, SavedData(saved.digest, saved.size, pieces), deadline)
DockerData._fill = half
from deployer.start import main
main()
"""


@pytest.mark.long("a restore that is killed, and the deploys after it")
def test_a_restore_that_was_killed_is_done_again(moving: tuple[Shop, Shop, Volume, Volume]) -> None:
    here, there, mine, theirs = moving
    mine.write(*ROWS, entry("at/much", tarfile.REGTYPE, os.urandom(3_000_000)))
    place = bundle(here, "1.0", "--with", "data")
    words = [sys.executable, "-c", KILLED, "up", "--from", str(place), "--state", str(there.state)]
    died = subprocess.run(words, cwd=there.folder, env=there.environment(), capture_output=True, timeout=180)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert theirs.exists

    (there.folder / "deploy.yml").write_text((here.folder / "deploy.yml").read_text())
    refused = there.deploy("up", "--version", "1.0", expect=2).stderr
    assert f"the restore of {TARGET} was interrupted, and only part of the data is there" in refused
    assert there.containers() == []
    there.deploy("up", "--from", str(place))
    assert theirs.read() == mine.read()
    assert there.get().text.strip() == "1.0"
