"""A service of system containers of Incus under load: a canary, a bad release, the way back, doctor, updates."""

from __future__ import annotations

import re
import shlex
import subprocess
import textwrap
from pathlib import Path

import pytest

from tests import incus
from tests.documents import REPOSITORY
from tests.lab.package import package
from tests.live.conftest import Make
from tests.load import Load, Options
from tests.services import require

pytestmark = [pytest.mark.live, pytest.mark.long("a daemon of Incus, and up to six containers")]


def test_a_canary_a_bad_release_and_the_way_back_lose_nothing(make_shop: Make) -> None:
    require("incus", "root")
    with incus.incusd() as environ:
        shop = make_shop("process")
        shop.environ = {key: environ[key] for key in ("INCUS_DIR", "INCUS_SOCKET")}
        shop.manifest.pop("command")
        for version, behaviour in (("1.0", {}), ("2.0", {}), ("3.0", {"ERR": "0.3"})):
            incus.build(environ, f"{shop.name}/{version}", version, {"DRAIN": "3000", **behaviour})
        health = {"http": "/health", "interval": "200ms", "deadline": "30s"}
        shop.write(runtime="incus", image=f"{shop.name}/{{version}}", health=health)
        try:
            shop.deploy("up", "--version", "1.0")
            with Load(shop.url, Options(kinds=("fresh", "sticky"), rate=30)) as load:
                load.until(lambda now: now.answered > 30, "the load runs")
                shop.deploy("canary", "--version", "2.0")
                shop.deploy("rollback", "-m", "back")
                shop.deploy("canary", "--version", "3.0", expect=3)
                report = load.stop()
            assert report.failed == 0, report.text()
            assert {"1.0", "2.0"} <= set(report.by_version)
            assert "Incus" in shop.deploy("doctor").stdout
            assert "listening on" in shop.deploy("logs").stdout
            shop.deploy("down", "--yes")
            assert incus.command(environ, "list", "-f", "csv") == ""
        finally:
            shop.close()  # while its Incus is there


def test_an_update_by_ansible_goes_onto_the_twin_before_users_meet_it(
    make_shop: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    """The playbook of docs/incus.md, Updates by Ansible: the image is the same, what is new comes as a package."""
    require("incus", "root", "ansible")
    page = (REPOSITORY / "docs/incus.md").read_text()
    (playbook,) = re.findall(r"^    - name: .*\n(?:(?:    .*)?\n)+", page, re.MULTILINE)
    with incus.incusd() as environ:
        shop = make_shop("process")
        shop.environ = {key: environ[key] for key in ("INCUS_DIR", "INCUS_SOCKET")}
        shop.manifest.pop("command")
        incus.build(environ, f"{shop.name}/base", "0.0", {"DRAIN": "3000"})
        (shop.folder / "packages.yml").write_text(textwrap.dedent(playbook))
        health = {"http": "/health", "interval": "200ms", "deadline": "30s"}
        shop.write(runtime="incus", image=f"{shop.name}/base", health=health, replicas=1, update=["packages.yml"])
        for version in ("1.0", "2.0"):
            package(shop.folder / f"app_{version}.deb", version, {"etc/app.env": f"VERSION={version}\n"})

        def updated(version: str) -> None:
            shop.write(env={"UPDATES": version})

        try:
            updated("1.0")
            first = shop.told("up", "--version", "1.0")
            assert shop.get().text == "1.0\n"
            with Load(shop.url, Options(kinds=("fresh", "busy", "post", "sticky"), rate=30)) as load:
                load.until(lambda now: now.answered > 30, "the load runs")
                updated("2.0")
                canary = shop.told("canary", "--version", "2.0")
                assert shop.get().text == "2.0\n"
                back = shop.told("rollback", "-m", "back")
                wanted = load.counters().answered + 30
                load.until(lambda now: now.answered >= wanted, "requests after the rollback")
                report = load.stop()
            assert report.failed == 0, report.text()
            assert set(report.by_version) == {"1.0", "2.0"}, "nobody has met a twin before its update"
            assert shop.get().text == "1.0\n"
            with capsys.disabled():
                for name, told in (("up", first), ("canary", canary), ("rollback", back)):
                    print(f"\n{name}:", *(f"{e['step']} {e['seconds']}" for e in told.all("step.done")), sep="\n  ")
        finally:
            shop.close()


def test_what_incus_lacks_for_a_virtual_machine_is_said_before_anything_is_made(
    make_shop: Make, tmp_path: Path
) -> None:
    """The sentence is the one that Incus itself has on this host, when it is asked to make one."""
    require("incus", "root", "qemu")
    disk = tmp_path / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(disk), "8M"], check=True)
    with incus.incusd() as environ:
        if not (lacking := incus.lacking_for_machines(environ)):
            pytest.skip("Incus runs virtual machines on this host")
        shop = make_shop("process")
        shop.environ = {key: environ[key] for key in ("INCUS_DIR", "INCUS_SOCKET")}
        shop.manifest.pop("command")
        incus.build_machine(environ, f"{shop.name}/1.0", disk)
        shop.write(runtime="incus", image=f"{shop.name}/{{version}}")
        try:
            said = shop.deploy("up", "--version", "1.0", expect=2).stderr
            assert (
                f"{shop.name}/1.0 is the image of a virtual machine, and Incus can run none on this host: {lacking}"
                in said
            )
            assert "verbs: qemu" in said
            assert incus.command(environ, "list", "-f", "csv") == ""
            assert f"no virtual machines: {lacking}" in shop.deploy("doctor").stdout
            asked = ["incus", "init", "--vm", "--empty", "by-hand"]
            refused = subprocess.run(asked, env=environ, capture_output=True, text=True, timeout=60)
            assert refused.returncode != 0
            assert lacking in refused.stderr
        finally:
            shop.close()


def test_the_limits_of_a_project_hold_for_a_service_that_lives_in_it(make_shop: Make) -> None:
    """The commands and the manifest of docs/incus.md, Projects."""
    require("incus", "root")
    page = (REPOSITORY / "docs/incus.md").read_text().partition("## Projects")[2]
    commands = [shlex.split(line, comments=True)[1:] for line in re.findall(r"^incus .*", page, re.MULTILINE)]
    with incus.incusd() as environ:
        shop = make_shop("process")
        shop.environ = {key: environ[key] for key in ("INCUS_DIR", "INCUS_SOCKET")}
        shop.manifest.pop("command")
        shop.write(runtime="incus", image=f"{shop.name}/{{version}}", incus={"project": "acme"}, replicas=2)
        shop.write(health={"http": "/health", "interval": "200ms", "deadline": "30s"})
        inside = {**environ, "INCUS_PROJECT": "acme"}
        try:
            assert "Incus has no project acme" in shop.deploy("up", "--version", "1.0", expect=2).stderr
            for each in commands:
                incus.command(environ, *each)
            for version in ("1.0", "2.0"):
                incus.build(inside, f"{shop.name}/{version}", version, {"DRAIN": "3000"})
            incus.command(environ, "project", "set", "acme", "limits.instances=3")
            shop.deploy("up", "--version", "1.0")
            assert len(incus.command(inside, "list", "-f", "csv", "-c", "n").split()) == 2
            assert incus.command(environ, "list", "-f", "csv") == "", "nothing is in the project `default`"
            said = shop.deploy("bluegreen", "--bake", "0", "--version", "2.0", expect=4).stderr
            assert 'Reached maximum number of instances in project "acme"' in said
            assert "incus project info acme" in said
            assert shop.get().text == "1.0\n"
            incus.command(environ, "project", "set", "acme", "limits.instances=4")
            shop.deploy("bluegreen", "--bake", "0", "--version", "2.0")
            assert shop.get().text == "2.0\n"
            assert "listening on" in shop.deploy("logs").stdout
            shop.manifest.pop("incus")
            shop.write()
            incus.build(environ, f"{shop.name}/3.0", "3.0", {"DRAIN": "3000"})
            shop.deploy("bluegreen", "--bake", "0", "--version", "3.0")
            assert shop.get().text == "3.0\n"
            shop.deploy("rollback", "-m", "into the project")
            assert shop.get().text == "2.0\n"
            shop.deploy("down", "--yes")
            assert incus.command(environ, "list", "--all-projects", "-f", "csv") == ""
        finally:
            shop.close()
