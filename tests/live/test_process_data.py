"""Data of processes in a bundle: the folders that a stopped service wrote to, and never over other data."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.bundling import bundle, hosts
from tests.live.conftest import Make
from tests.live.shop import Shop
from tests.unit.test_folder_archive import seen
from tests.waiting import within

pytestmark = pytest.mark.live


@pytest.fixture
def moving(make_shop: Make) -> Iterator[tuple[Shop, Shop, Path]]:
    """Yield a service that writes to a folder, and the host it moves to; what `other_host` does leaves the folder."""
    here, there = hosts(make_shop, "process")
    rows = here.folder / "rows"
    here.write(replicas=1, mounts=[{"source": str(rows), "target": str(rows)}])
    rows.mkdir()
    (rows / "deep").mkdir(0o750)
    (rows / "deep" / "row").write_text("first")
    (rows / "away").symlink_to("/etc/passwd")
    os.utime(rows / "deep", (1_000_000_000, 1_000_000_000))
    yield here, there, rows
    for shop in (here, there):
        shop._run("down", "-y", "--service", here.name)


def on_the_other_host(rows: Path) -> Path:
    """Take the folder aside, as it is not there on another host; return where it is."""
    return rows.rename(rows.with_name("aside"))


@pytest.mark.long("three bundles and two deploys", every_change=True)
def test_a_stopped_service_moves_with_its_folders(moving: tuple[Shop, Shop, Path]) -> None:
    here, there, rows = moving
    here.version("1.0")
    here.deploy("up", "--version", "1.0")
    place, again = here.folder / "1.0.bundle", here.folder / "again.bundle"
    make = ("bundle", "make", "--version", "1.0", "--with", "data", "-o")
    said = here.deploy(*make, str(place), expect=2).stderr
    assert f"(running) may write to {rows}" in said
    assert "`deploy down`" in said
    assert not place.exists()
    here.deploy("down", "-y")

    here.deploy(*make, str(place))
    here.deploy(*make, str(again))
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(place.read_bytes()).digest()
    shown = json.loads(here.deploy("bundle", "show", str(place), "--output", "json").stdout)
    assert [data["name"] for data in shown["data"]] == [str(rows)]

    was = seen(rows)
    aside = on_the_other_host(rows)
    there.deploy("plan", "--from", str(place))
    assert not rows.exists()
    there.deploy("up", "--from", str(place))
    assert there.get().text.strip() == "1.0"
    assert seen(rows) == was == seen(aside)
    assert "nothing to do" in there.deploy("up", "--from", str(place)).stdout


@pytest.mark.long("five deploys from bundles with data")
def test_what_is_there_stays_and_what_is_wrong_is_said(moving: tuple[Shop, Shop, Path]) -> None:
    here, there, rows = moving
    place = bundle(here, "1.0", "--with", "data")
    with subprocess.Popen(["sh", "-c", f"exec sleep 1000 >>{rows}/log"]) as writer:
        try:
            named = Path(f"/proc/{writer.pid}/comm")
            within().until(lambda: named.read_text() == "sleep\n", "it has the file open, and its name")
            make = ("bundle", "make", "--version", "1.0", "--with", "data", "-o", str(here.folder / "2.bundle"))
            said = here.deploy(*make, expect=2).stderr
            assert f"sleep ({writer.pid}) has a file in {rows} open to write" in said
        finally:
            writer.kill()
    (rows / "log").unlink()
    os.mkfifo(rows / "pipe")
    assert "pipe' is neither a file, a folder nor a link" in here.deploy(*make, expect=2).stderr
    (rows / "pipe").unlink()

    assert f"there is data for {rows} already" in there.deploy("up", "--from", str(place), expect=2).stderr
    said = there.deploy("up", "--from", str(place), "--data", "overwrite", expect=2).stderr
    assert "deployer removes nothing of a folder: empty it by hand" in said
    (rows / "deep" / "row").write_text("of this host")
    there.deploy("up", "--from", str(place), "--data", "keep")
    assert (rows / "deep" / "row").read_text() == "of this host"
    there.deploy("down", "-y", "--service", here.name)

    aside = on_the_other_host(rows)
    rows.symlink_to(here.folder / "elsewhere")
    (here.folder / "elsewhere").mkdir()
    there.deploy("up", "--from", str(place))
    assert (here.folder / "elsewhere" / "deep" / "row").read_text() == "first"
    there.deploy("down", "-y", "--service", here.name)
    rows.unlink()
    said = there.deploy("up", "--from", str(place), "--data", "keep", expect=4).stderr
    assert f"mounts: there is no folder {rows}" in said
    assert (aside / "deep" / "row").read_text() == "of this host"
