"""`deploy hosts setup` and `update`, on machines that have next to nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest

from deployer import __version__
from deployer.core.resources import builtin
from tests.documents import REPOSITORY
from tests.lab import image
from tests.lab.machines import Lab, Machine, packages
from tests.lab.machines.lab import CONTROLLER
from tests.lab.machines.programs import call
from tests.machines.conftest import deploy, deploy_json, write_inventory
from tests.services import require
from tests.waiting import within

pytestmark = pytest.mark.live
PLAYBOOK = str(Path(sys.executable).with_name("ansible-playbook"))
PORT = 21005


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lab, Path]]:
    """Yield two machines without engine, proxy and firewall, and an inventory in which `deploy` is the user."""
    require("machines", "ansible")
    folder = tmp_path_factory.mktemp("bare")
    with Lab({"new1": (), "new2": ()}) as lab, lab.entered():
        names = {name for machine in lab.machines.values() for name in packages.take_off(machine)}
        with lab.outside():
            packages.fetch(sorted(names), folder / "repository")
        with packages.served(folder / "repository", CONTROLLER) as line:
            for machine in lab.machines.values():
                packages.use(machine, line)
            write_inventory(lab, folder / "inventory", {"web": ("new1",), "edge": ("new2",)}, user="deploy")
            yield lab, folder


SETUP = ("hosts", "setup", "-i", "inventory", "--user", "root")


@dataclass(frozen=True)
class Prepared:
    """The machines as `setup` left them, and what was said before, meanwhile and when it ran again."""

    lab: Lab
    folder: Path
    before: str
    first: str
    second: Any


@pytest.fixture(scope="module")
def prepared(bare: tuple[Lab, Path]) -> Prepared:
    """Set the machines up, twice."""
    lab, folder = bare
    before = deploy(folder, "hosts", "check", "-i", "inventory", expect=8).stdout
    first = deploy(folder, *SETUP, "--yes").stderr
    return Prepared(lab, folder, before, first, deploy_json(folder, *SETUP, "--yes"))


def changed(result: Any) -> list[int]:
    return [machine["changed"] for machine in result["hosts"]]


def test_setup_makes_bare_machines_fit_and_changes_nothing_the_second_time(prepared: Prepared) -> None:
    assert prepared.before.count("deploy hosts setup --user root") == 2  # nobody called deploy was let in
    assert "task changed: setup.yml: Install the engine on new1" in prepared.first
    assert "task changed: setup.yml: Install the proxy on new2" in prepared.first
    assert "task ok" not in prepared.first
    assert changed(prepared.second) == [0, 0]

    after = deploy_json(prepared.folder, "hosts", "check", "-i", "inventory")  # as the user that was made

    assert {f["what"] for m in after["hosts"] for f in m["findings"]} >= {"engine", "proxy"}


def test_setup_does_nothing_unasked(prepared: Prepared) -> None:
    refused = deploy(prepared.folder, *SETUP, expect=2).stderr

    assert "nothing was done: there is no terminal to confirm" in refused


def test_setup_runs_alone_too(prepared: Prepared) -> None:
    folder = prepared.folder

    done = subprocess.run(
        [PLAYBOOK, "-i", "inventory", str(builtin("playbooks") / "setup.yml"), "-e", "ansible_user=root"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=900,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )

    assert done.returncode == 0, done.stdout
    assert done.stdout.count("changed=0") == 2


def test_setup_brings_the_deployer_to_proxies_that_stand_for_one(prepared: Prepared, tmp_path: Path) -> None:
    lab, folder = prepared.lab, prepared.folder
    with lab.outside():
        wheels(tmp_path)
    shutil.copytree(tmp_path / "wheels", lab["new2"].root / "srv/wheels")
    (wheel,) = (tmp_path / "wheels").glob("twin_deployer-*.whl")
    (folder / "deploy.yml").write_text(
        "service: shop\nimage: shop:1\nport: 80\ninventory: inventory\nhosts: web\ntraffic: {proxies: edge}\n"
    )
    package = ("-e", f"deployer_package={wheel}", "-e", "deployer_pip=--no-index --find-links /srv/wheels")
    try:
        before = deploy(folder, "hosts", "check", "--limit", "edge", expect=8).stdout
        deploy(folder, *SETUP, "--yes", "--limit", "edge", *package)
        second = deploy_json(folder, *SETUP, "--yes", "--limit", "edge", *package)
        (machine,) = deploy_json(folder, "hosts", "check", "--limit", "edge")["hosts"]
    finally:
        (folder / "deploy.yml").unlink()

    assert "it has no `deploy` command, which serves the proxy" in before
    assert f"-e deployer_package=twin-deployer=={__version__}" in before
    assert changed(second) == [0]
    assert f"deployer {__version__}" in [finding["text"] for finding in machine["findings"]]


def wheels(folder: Path) -> None:
    """Make a wheel of this deployer, and fetch those that it needs on a machine of the lab."""
    ask = ["/usr/bin/python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    version = subprocess.run(ask, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    source = folder / "source"
    for part in ("deployer", "strategies", "playbooks", "inventories", "pyproject.toml", "README.md", "LICENSE"):
        here = REPOSITORY / part
        if here.is_dir():
            shutil.copytree(here, source / part, ignore=shutil.ignore_patterns("__pycache__"))
        elif here.exists():
            shutil.copy(here, source / part)
    pip = [sys.executable, "-m", "pip"]
    needed = ("--only-binary=:all:", f"--python-version={version}", "-d", str(folder / "wheels"), str(source))
    for line in (("wheel", "-q", "--no-deps", "-w", str(folder / "wheels"), str(source)), ("download", "-q", *needed)):
        subprocess.run([*pip, *line], check=True, timeout=900, capture_output=True)


def test_what_was_set_up_comes_back_after_a_power_cut(prepared: Prepared) -> None:
    lab, folder = prepared.lab, prepared.folder
    for machine in lab.machines.values():
        machine.kill()
        machine.start()
        machine.wait()
    for machine in lab.machines.values():
        within(300).until(lambda machine=machine: has_booted(machine), f"{machine.name} has booted")  # type: ignore[misc]

    deploy(folder, "hosts", "check", "-i", "inventory", "--within", "120")


def has_booted(machine: Machine) -> bool:
    """Return whether all is started that starts with a machine."""
    return machine.run("systemctl", "is-system-running", check=False).stdout.strip() in ("running", "degraded")


def test_behind_the_firewall_only_proxies_reach_instances(prepared: Prepared) -> None:
    lab, folder = prepared.lab, prepared.folder
    setup = (*SETUP, "--yes", "-e", "deployer_firewall=true")
    client = docker.DockerClient(base_url=lab["new1"].docker_url, timeout=60)
    try:
        image.build("fire:1", client=client)
        client.containers.run(
            "fire:1", detach=True, name="fire", ports={"8080/tcp": PORT}, environment={"PORT": "8080"}
        )
        within(60).until(lambda: reached(lab, "") == reached(lab, "new2") == 0, "it answers")

        deploy(folder, *setup)
        assert changed(deploy_json(folder, *setup)) == [0, 0]

        assert reached(lab, "") != 0
        assert reached(lab, "new2") == 0
        deploy(folder, "hosts", "check", "-i", "inventory")
        lab["new1"].run("systemctl", "stop", "deployer-firewall")
        assert reached(lab, "") == 0
    finally:
        lab["new1"].run("docker", "rm", "-f", "fire", check=False)
        for machine in lab.machines.values():
            machine.run("systemctl", "disable", "--now", "deployer-firewall", check=False)
        client.close()


def reached(lab: Lab, name: str) -> int:
    """Ask the instance for its health, from a machine or the controller; return curl's exit code."""
    command = ("curl", "-fsS", "-m", "5", "-o", "/dev/null", f"http://{lab['new1'].address}:{PORT}/health")
    return (lab[name].run(*command, check=False) if name else call(*command, check=False)).returncode


def test_update_brings_new_packages_and_reboots_what_asks_for_it(prepared: Prepared) -> None:
    lab, folder = prepared.lab, prepared.folder
    packages.offer(folder / "repository", "lab-tool", "1.0")
    for machine in lab.machines.values():
        machine.run("sh", "-c", "apt-get -q update && apt-get -q -y install lab-tool")
    packages.offer(folder / "repository", "lab-tool", "2.0", asks_for_reboot="new1")
    boots = {name: lab[name].boot_id() for name in lab.machines}

    update = ("hosts", "update", "-i", "inventory", "--user", "root", "--yes")
    first = deploy_json(folder, *update)

    assert changed(first) == [2, 1]
    assert lab["new1"].boot_id() != boots["new1"]
    assert lab["new2"].boot_id() == boots["new2"]
    assert lab["new2"].run("dpkg-query", "-W", "-f", "${Version}", "lab-tool").stdout == "2.0"
    assert changed(deploy_json(folder, *update)) == [0, 0]
    deploy(folder, "hosts", "check", "-i", "inventory")


def test_an_update_that_leaves_a_machine_unfit_does_not_go_on(prepared: Prepared) -> None:
    lab, folder = prepared.lab, prepared.folder
    lab["new1"].run("sh", "-c", "echo nonsense >/etc/apt/sources.list.d/broken.list")
    try:
        done = deploy(folder, "hosts", "update", "-i", "inventory", "--user", "root", "--yes", expect=4)
    finally:
        lab["new1"].run("rm", "/etc/apt/sources.list.d/broken.list")

    assert "failed on new1" in done.stderr
    assert "new2" not in done.stdout
