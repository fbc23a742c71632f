"""A service of system containers of Incus under load: a canary, a bad release, the way back, doctor, updates."""

from __future__ import annotations

import re
import textwrap

import pytest

from tests import incus
from tests.documents import REPOSITORY
from tests.lab.package import package
from tests.live.conftest import Make
from tests.load import Load, Options
from tests.services import require

pytestmark = [pytest.mark.live, pytest.mark.long("a daemon of Incus, and six containers under load")]


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
