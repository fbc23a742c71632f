"""A size that somebody wants, or that follows the load: no request is lost by more instances, or by fewer."""

from __future__ import annotations

from typing import Any

import pytest

from tests.live.conftest import Make
from tests.live.shop import Shop
from tests.load import Load, Options
from tests.waiting import within

pytestmark = pytest.mark.live

# No WebSocket: one on an instance that goes ends with it, once its drain is over
USERS = Options(kinds=("fresh", "busy", "sticky", "post", "paused", "slow"), rate=60)


def up(shop: Shop, release: int, size: int) -> bool:
    """Return whether just these instances of a release get users."""
    environments = shop.status()["environments"]
    found = {i["name"]: i["up"] for e in environments if e["role"] == "stable" for i in e["instances"]}
    return found == {f"{shop.name}-r{release}-{n}": True for n in range(1, size + 1)}


def settled(shop: Shop, release: int, size: int) -> None:
    """Wait until just these get users: one that responds too late to a check, on a busy host, is out for a moment."""
    within(60).until(lambda: up(shop, release, size), f"r{release} has {size} instances that get users")


@pytest.mark.long("sizes with drains, and a deploy, of processes and on an engine")
def test_no_request_is_lost_by_a_change_of_size(shop: Shop) -> None:
    shop.write(replicas=2)
    shop.live("1.0")
    with Load(shop.url, USERS) as load:
        load.until(lambda now: now.answered > 50, "the load has started")
        done = shop.deploy("scale", "4", "--for", "1h", "-m", "sale")
        assert done.stdout.endswith("2 instances, 4 are wanted: done\n")
        assert "no keeper runs, which would end it" in done.stderr
        settled(shop, 1, 4)
        said = shop.deploy("scale").stdout
        assert "has 4 of 4 instances" in said
        assert "wants (sale), until " in said
        shop.version("2.0")
        shop.deploy("bluegreen", "--bake", "0", "--version", "2.0")
        settled(shop, 2, 4)  # a deploy meanwhile has that size
        shop.deploy("scale", "1")
        settled(shop, 2, 1)
        shop.deploy("scale", "--auto")
        settled(shop, 2, 2)
        report = load.stop()
    assert report.failed == 0, report.text()
    rows = shop.events("history")[0]["rollouts"]
    assert [row["strategy"] for row in rows[:4]] == ["scale", "scale", "bluegreen", "scale"]


@pytest.mark.long("a load that comes and goes, and sizes that follow it")
def test_the_size_follows_a_load_and_no_request_is_lost(make_shop: Make) -> None:
    shop = make_shop("process")
    del shop.manifest["replicas"]
    shop.write(scale={"max": 6, "concurrency": 4, "hold": "3s"})
    shop.live("1.0", env={"LAT": "200"})
    settled(shop, 1, 1)
    with shop.start("keep"):
        shop.wait(lambda found: found["keeper"]["runs"], "the keeper works")
        with Load(shop.url, Options(kinds=("fresh",), rate=40)) as load:  # eight at once
            grown = shop.wait(lambda found: found["size"]["instances"] >= 3, "it has grown")
            assert grown["size"]["scale"]["why"].endswith(("at once", "wait for an instance", "waits for an instance"))
            first = min(row["started_at"] for row in changes(shop))
            report = load.stop()
        assert report.failed == 0, report.text()
        began = min(request.start for request in report.requests)
        print(f"the first change began {first - began:.2f} s after the first request")
        small = shop.wait(lambda found: found["size"]["instances"] == 1 and not found["rollout"], "it has shrunk")
        assert "at most" in small["size"]["scale"]["why"]
    assert {row["outcome"] for row in changes(shop)} == {"done"}
    settled(shop, 1, 1)


def changes(shop: Shop) -> list[dict[str, Any]]:
    """Return what `deploy history` has of changes of size."""
    return [row for row in shop.events("history")[0]["rollouts"] if row["strategy"] == "scale"]
