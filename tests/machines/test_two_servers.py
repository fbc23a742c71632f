"""The page "From server A to server B", with the files of examples/two-servers: its commands, in order, under load."""

from __future__ import annotations

import hashlib
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.conftest import state_folder
from tests.documents import REPOSITORY
from tests.lab.machines import Lab, Machine
from tests.load import Load, Options
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


def commands_of_the_page() -> list[str]:
    page = (REPOSITORY / "docs/two-servers.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    return [line.partition("#")[0].strip() for block in blocks for line in block.splitlines()]


def package(machine: Machine, version: str, *, installed: bool) -> None:
    """Give a machine a source of packages of its own, with one that has this version."""
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
    """Give a control host and two servers, for which there is an update."""
    require("machines", "ansible", "haproxy", "gcc")
    with Lab(dict.fromkeys((CONTROL, A, B), ("docker",))) as made, made.entered():
        for name in (A, B):
            package(made[name], "1", installed=True)
            package(made[name], "2", installed=False)
        yield made


@pytest.fixture
def farm(lab: Lab) -> Iterator[Farm]:
    """Give the example with the addresses of the lab, a shorter step, and a name of its own."""
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
    assert commands_of_the_page() == COMMANDS
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
        refused = subprocess.run(command, cwd=farm.folder, capture_output=True, text=True, timeout=120)
        assert refused.returncode != 0
        assert "instances of services are still here" in refused.stdout
        with farm.start("keep"):
            within(180).until(lambda: not farm.on(A), "the keeper removes what is warm on A")
        done = subprocess.run(command, cwd=farm.folder, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout
        within(60).until(lambda: not lab[A].is_on(), "A is off")
        wanted = load.counters().answered + 60
        load.until(lambda now: now.answered >= wanted, "requests with A off")
        report = load.stop()
    assert report.failed == 0, report.text()
    assert farm.get().text == "2.1\n"
