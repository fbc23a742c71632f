"""The page "From server A to server B", with the files of examples/two-servers: its commands, in order, under load."""

from __future__ import annotations

import hashlib
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import requests
import yaml

from tests.conftest import state_folder
from tests.documents import REPOSITORY
from tests.lab.machines import Lab, Machine
from tests.live.volumes import ROWS, Volume
from tests.load import Counters, Load, Options
from tests.machines.farm import CONTROL, Farm, engine
from tests.services import require
from tests.waiting import within

pytestmark = pytest.mark.live
USERS = Options(rate=40, kinds=("fresh", "busy", "post", "sticky"))
EXAMPLE = REPOSITORY / "examples/two-servers"
COMMANDS = [
    "deploy up --version 1.0",
    "deploy plan canary --version 2.0",
    "deploy canary --version 2.0",
    "deploy status",
    "deploy rollback",
    "deploy canary --version 2.1",
    "ansible-playbook -i inventory playbooks/switch-off.yml -e server=server_a",
]
A, B = "a1", "b1"
CONTROL_FILE = """\
Package: shop-base
Version: {version}
Architecture: all
Maintainer: Nobody <nobody@example.com>
Description: something to update
"""


FOR_GOOD = ["deploy canary --version 2.1", "deploy rollback"]
WITH_DATA = [
    "deploy bundle make -o shop.bundle",
    "deploy plan --from shop.bundle",
    "deploy down --yes",
    "deploy bundle make --with data --since shop.bundle -o data.bundle",
    "deploy up --from data.bundle",
]


def commands_of_the_page() -> list[str]:
    page = (REPOSITORY / "docs/two-servers.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    return [line.partition("#")[0].strip() for block in blocks for line in block.splitlines()]


def test_the_page_has_the_commands_that_are_run_here() -> None:
    assert commands_of_the_page() == [*COMMANDS, *FOR_GOOD, *WITH_DATA]


def package(machine: Machine, version: str, *, installed: bool) -> None:
    """Set up a source of packages of its own for a host, with one that has this version."""
    script = f"""set -eu
mkdir -p /srv/packages/p/DEBIAN; cd /srv/packages
cat >p/DEBIAN/control <<'END'
{CONTROL_FILE.format(version=version)}END
dpkg-deb -b p shop-base.deb >/dev/null
"""
    machine.run("sh", "-c", script)
    deb = (machine.root / "srv/packages/shop-base.deb").read_bytes()
    (machine.root / "srv/packages/Packages").write_text(
        f"{CONTROL_FILE.format(version=version)}"
        f"Filename: ./shop-base.deb\nSize: {len(deb)}\nSHA256: {hashlib.sha256(deb).hexdigest()}\n\n"
    )
    sources = "rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*; echo 'deb [trusted=yes] file:/srv/packages ./'"
    machine.run("sh", "-c", f"{sources} >/etc/apt/sources.list.d/own.list")
    if installed:
        machine.run("dpkg", "-i", "/srv/packages/shop-base.deb")


def installed(machine: Machine) -> str:
    return machine.run("dpkg-query", "-W", "-f", "${Version}", "shop-base").stdout


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Yield a control host and two servers, for which there is an update."""
    require("machines", "ansible", "haproxy", "gcc")
    with Lab(dict.fromkeys((CONTROL, A, B), ("docker",))) as made, made.entered():
        for name in (A, B):
            package(made[name], "1", installed=True)
            package(made[name], "2", installed=False)
        yield made


@pytest.fixture
def farm(lab: Lab) -> Iterator[Farm]:
    """Yield the example with the addresses of the lab, a shorter step, and a name of its own; both servers are on."""
    for server in (lab[A], lab[B]):
        if not server.is_on():
            server.start()
            server.wait()
    with engine(lab[CONTROL]) as client, state_folder(Path("/tmp")) as folder:
        shutil.copytree(EXAMPLE / "playbooks", folder / "playbooks")
        made = Farm(folder, lab, client, {"server_a": (A,), "server_b": (B,)})
        written = yaml.safe_load((EXAMPLE / "deploy.yml").read_text())
        made.manifest = {
            **written,
            "service": made.name,
            "image": made.name,
            "traffic": made.manifest["traffic"],
            "judge": {"requests": 5},
            "strategy": {"canary": {**written["strategy"]["canary"], "for": "3s", "bake": "1s"}},
            "keep": {"warm": "1m"},
        }
        made.write()
        try:
            yield made
        finally:
            made.close()


def test_the_commands_of_the_page_bring_everyone_from_a_to_b_and_back_and_nobody_notices(farm: Farm, lab: Lab) -> None:
    assert sorted(p.name for p in (EXAMPLE / "playbooks").iterdir()) == ["switch-off.yml", "updates.yml"]
    for version in ("1.0", "2.0", "2.1"):
        farm.version(version)
    run = iter(COMMANDS)

    def step(*more: str) -> str:
        return farm.deploy(*shlex.split(next(run))[1:], *more).stdout

    step()
    assert (installed(lab[A]), installed(lab[B])) == ("2", "1"), "the first release brings updates, too"
    for name in (A, B):
        package(lab[name], "3", installed=False)
    with Load(farm.url, USERS) as load:
        load.until(lambda now: now.answered > 40, "the load runs")
        step()
        assert installed(lab[B]) == "1", "a plan changes nothing"
        step()
        assert farm.get().text == "2.0\n"
        assert (installed(lab[A]), installed(lab[B])) == ("2", "3"), "updates are for the server that takes over"
        assert {A, B} == set(farm.hosts().values())
        shown = step()
        assert A in shown
        assert B in shown
        step()
        assert farm.get().text == "1.0\n"
        step()
        assert farm.get().text == "2.1\n"

        last = shlex.split(next(run))
        command = [str(Path(sys.executable).with_name(last[0])), *last[1:]]
        refused = subprocess.run(command, cwd=farm.folder, capture_output=True, text=True, timeout=600)
        assert refused.returncode != 0
        assert "instances of services are still here" in refused.stdout
        with farm.start("keep"):
            within(180).until(lambda: not farm.on(A), "the keeper removes what is warm on A")
        done = subprocess.run(command, cwd=farm.folder, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout
        within(180).until(lambda: not lab[A].is_on(), "A is off")
        wanted = load.counters().answered + 60
        load.until(lambda now: now.answered >= wanted, "requests with A off")
        report = load.stop()
    assert report.failed == 0, report.text()
    assert farm.get().text == "2.1\n"


def moving(farm: Farm, **settings: object) -> None:
    """Have the service stand where `hosts` says, without a twin and without updates."""
    for key in ("twin", "update"):
        farm.manifest.pop(key, None)
    farm.write(hosts="server_a", **settings)
    farm.version("2.1")
    farm.deploy("up", "--version", "2.1")
    assert set(farm.hosts().values()) == {A}


def test_a_service_moves_for_good_by_a_canary_on_another_host(farm: Farm) -> None:
    moving(farm)
    with Load(farm.url, USERS) as load:
        load.until(lambda now: now.answered > 40, "the load runs")
        farm.write(hosts="server_b")
        for place, command in zip((B, A), FOR_GOOD, strict=True):
            farm.deploy(*shlex.split(command)[1:])
            before = served(farm, place)
            load.until(partial(answered, load.counters().answered + 40), "requests there")
            assert served(farm, place) > before, f"users are on {place}"
        report = load.stop()
    assert report.failed == 0, report.text()


def answered(wanted: int, now: Counters) -> bool:
    return now.answered >= wanted


def served(farm: Farm, place: str) -> int:
    """Return how many requests the instance on a server has seen."""
    (name,) = (name for name, host in farm.hosts().items() if host == place)
    (found,) = (i for e in farm.status()["environments"] for i in e["instances"] if i["name"] == name)
    return int(requests.get(f"http://{found['address']}/stats", timeout=20).json()["n"])


@pytest.mark.long("two bundles, and a deploy to each server")
def test_a_single_writer_moves_with_its_data_and_a_pause(
    farm: Farm, lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    moving(farm, single=True, strategy="recreate", mounts=[{"source": "rows", "target": "/rows"}], version="2.1")
    with engine(lab[A]) as on_a, engine(lab[B]) as on_b:
        mine, theirs = (Volume(client, farm.image_on(on_a), "rows") for client in (on_a, on_b))
        mine.write(*ROWS)
        (farm.folder / f"{farm.name}.here.yml").write_text("hosts: server_b\n")
        try:
            for command in WITH_DATA:
                if command.startswith("deploy down"):
                    assert farm.get().text == "2.1\n"
                    began = time.monotonic()
                farm.deploy(*shlex.split(command)[1:])
            assert farm.get().text == "2.1\n"
            pause = time.monotonic() - began
            assert set(farm.hosts().values()) == {B}
            assert theirs.read() == mine.read()
            (farm.folder / f"{farm.name}.here.yml").unlink()
            farm.write(hosts="server_b")
            assert "nothing to do" in farm.deploy("up").stdout
        finally:
            farm.deploy("down", "--yes")
            mine.remove()
            theirs.remove()
    with capsys.disabled():
        print(f"\nmoved with its data in {pause:.1f} s")
