"""A service of system containers of Incus under load: a canary, a bad release, the way back, and doctor."""

from __future__ import annotations

import pytest

from tests import incus
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
