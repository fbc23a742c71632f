"""The store is lost while users are served: `deploy adopt` makes records of what runs, and nobody notices."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.live.shop import Shop
from tests.load import Load, Options

pytestmark = pytest.mark.live

USERS = Options(rate=100, kinds=("fresh", "busy", "sticky", "post"), sticky_posts=0.3)


def lose_store(shop: Shop) -> None:
    for file in shop.state.glob("deployer.db*"):
        file.unlink()


def adopted(shop: Shop, *arguments: str) -> dict[str, Any]:
    done = shop.deploy("adopt", "--yes", *arguments, "--output", "json")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def twice(shop: Shop) -> Shop:
    """Return a service on which 2.0 is live and 1.0 warm."""
    shop.version("2.0")
    shop.deploy("bluegreen", "--bake", "0", "--version", "2.0")
    return shop


@pytest.mark.long("two services, whose store is lost under load")
def test_the_store_is_lost_in_the_middle_of_the_traffic(twice: Shop) -> None:
    shop = twice
    before = shop.status()
    with Load(shop.url, USERS) as load:
        load.until(lambda now: now.answered > 100, "the load runs")
        lose_store(shop)
        shop.deploy("up", "--version", "2.0", expect=2)
        view = adopted(shop)
        assert view["done"]
        after = shop.status()
        shop.deploy("rollback")
        assert shop.status()["stable_version"] == "1.0"
        shop.version("3.0")
        shop.deploy("canary", "--version", "3.0")
        report = load.stop()
    assert report.failed == 0, report.text()
    assert set(report.by_version) == {"1.0", "2.0", "3.0"}
    for each in (before, after):
        for environment in each["environments"]:
            del environment["warm_until"], environment["open"]  # the end of a time, and requests of a moment
    assert after["environments"] == before["environments"]
    assert shop.status()["stable_version"] == "3.0"
    assert shop.status()["stable"] == 3
    shop.deploy("doctor")


@pytest.mark.long("a whole canary after the store was lost", every_change=("process",))
def test_the_store_is_lost_in_the_middle_of_a_canary(shop: Shop) -> None:
    shop.version("2.0")
    with Load(shop.url, USERS) as load:
        load.until(lambda now: now.answered > 100, "the load runs")
        shop.deploy("canary", "--version", "2.0", "--percent", "30", "--hold")
        lose_store(shop)
        (service,) = adopted(shop)["services"]
        assert service["rollout"] > 0
        assert service["share"] == 3000
        shop.deploy("promote", expect=2)
        shop.deploy("abort")
        load.mark("back")
        wanted = load.counters().sent + 100
        load.until(lambda now: now.sent >= wanted, "requests after it", 30)
        report = load.stop()
    assert report.failed == 0, report.text()
    assert set(report.after("back").by_version) == {"1.0"}
    assert [e["version"] for e in shop.status()["environments"]] == ["1.0"]
    shop.deploy("bluegreen", "--bake", "0", "--version", "2.0")
    assert shop.status()["stable_version"] == "2.0"


@pytest.mark.long("two services whose store is lost")
def test_it_shows_first_what_it_would_record(process_shop: Shop) -> None:
    shop = process_shop
    lose_store(shop)
    shown = shop.deploy("adopt", expect=2)

    assert "this would be recorded" in shown.stdout
    assert "stable" in shown.stdout
    assert "--yes" in shown.stderr
    assert "nothing to adopt" not in shown.stdout
    shop.deploy("adopt", "--yes")
    assert "nothing to adopt" in shop.deploy("adopt").stdout
    assert shop.status()["stable_version"] == "1.0"


@pytest.mark.long("a store that is lost under load")
def test_a_damaged_store_is_moved_aside_and_nobody_notices(process_shop: Shop) -> None:
    shop = process_shop
    with Load(shop.url, USERS) as load:
        load.until(lambda now: now.answered > 100, "the load runs")
        store = shop.state / "deployer.db"
        store.write_bytes(b"garbage" * 4096)
        assert "is damaged" in shop.deploy("status", expect=2).stderr
        view = adopted(shop)
        report = load.stop()
    assert report.failed == 0, report.text()
    assert "damaged" in view["why"]
    assert view["aside"][0].startswith(f"{store}.aside-")
    assert shop.status()["stable_version"] == "1.0"
    shop.deploy("audit", "verify")
