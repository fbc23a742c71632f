"""Data of a service on hosts of an inventory, in a bundle: each host's own, and of one host as of this one."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.lab.machines import Lab
from tests.live.volumes import ROWS, Volume, entry
from tests.machines.farm import CONTROL, Farm, engine
from tests.services import require

pytestmark = pytest.mark.live
TARGET, NAME = "/var/lib/shop", "rows"
A, B = "a1", "b1"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Yield a control host and two servers."""
    require("machines", "ansible", "haproxy", "gcc")
    with Lab(dict.fromkeys((CONTROL, A, B), ("docker",))) as made, made.entered():
        yield made


@pytest.fixture
def farm(lab: Lab, state: Path) -> Iterator[Farm]:
    """Yield a service that keeps data in a volume of each of its hosts."""
    with engine(lab[CONTROL]) as client:
        folder = state / "s"
        folder.mkdir()
        made = Farm(folder, lab, client, {"web": (A, B), "first": (A,), "second": (B,)})
        try:
            made.version("1.0")
            made.write(mounts=[{"source": NAME, "target": TARGET}])
            yield made
        finally:
            made.close()


@pytest.fixture
def volumes(farm: Farm, lab: Lab) -> Iterator[dict[str, Volume]]:
    """Yield the volume of each server; they have the image of the service once it was deployed to them."""
    farm.deploy("up", "--version", "1.0")
    with ExitStack() as opened:
        made = {}
        for name in (A, B):
            client = opened.enter_context(engine(lab[name]))
            made[name] = Volume(client, farm.image_on(client), NAME)
        try:
            yield made
        finally:
            farm.deploy("down", "-y")
            for volume in made.values():
                volume.remove()


def test_each_host_gets_its_own_data_back(farm: Farm, volumes: dict[str, Volume]) -> None:
    place = farm.folder / "1.0.bundle"
    make = ("bundle", "make", "-o", str(place), "--version", "1.0", "--with", "data")
    said = farm.deploy(*make, expect=2).stderr
    assert f"{A}: {farm.name}-" in said
    assert f"is running with {NAME}" in said
    assert not place.exists()
    farm.deploy("down", "-y")
    for name, volume in volumes.items():
        volume.write(*ROWS, entry("at/host", tarfile.REGTYPE, name.encode()))
    farm.deploy(*make)
    shown = json.loads(farm.deploy("bundle", "show", str(place), "--output", "json").stdout)
    assert [data["name"] for data in shown["data"]] == [f"{A}:{TARGET}", f"{B}:{TARGET}"]
    was = {name: (volume.read(), volume.text("at/host")) for name, volume in volumes.items()}
    assert f"there is data for {A}:{TARGET} already" in farm.deploy("up", "--from", str(place), expect=2).stderr
    for volume in volumes.values():
        volume.remove()

    farm.deploy("up", "--from", str(place))
    assert {name: (volume.read(), volume.text("at/host")) for name, volume in volumes.items()} == was
    assert was[A][1] != was[B][1]

    farm.deploy("down", "-y")
    (farm.folder / f"{farm.name}.here.yml").write_text("hosts: first\n")
    said = farm.deploy("up", "--from", str(place), "--data", "overwrite", expect=2).stderr
    assert f"the bundle has data for {A}:{TARGET}, and the service runs on {A}" in said


def test_data_of_one_host_goes_to_another(farm: Farm, volumes: dict[str, Volume]) -> None:
    farm.deploy("down", "-y")
    farm.write(hosts="first")
    volumes[A].write(*ROWS)
    place = farm.folder / "1.0.bundle"
    farm.deploy("bundle", "make", "-o", str(place), "--version", "1.0", "--with", "data")
    shown = json.loads(farm.deploy("bundle", "show", str(place), "--output", "json").stdout)
    assert [data["name"] for data in shown["data"]] == [TARGET]
    (farm.folder / f"{farm.name}.here.yml").write_text("hosts: second\n")
    farm.deploy("up", "--from", str(place), "--data", "overwrite")
    assert farm.on(B)
    assert not farm.on(A)
    assert volumes[B].read() == volumes[A].read()
