"""A size that somebody wants, under load: no request is lost by more instances, fewer, and a deploy meanwhile."""

from __future__ import annotations

import pytest

from tests.live.shop import Shop
from tests.load import Load, Options

pytestmark = pytest.mark.live

# No WebSocket: one on an instance that goes ends with it, once its drain is over
USERS = Options(kinds=("fresh", "busy", "sticky", "post", "paused", "slow"), rate=60)


def up(shop: Shop, release: int, size: int) -> bool:
    """Tell whether just these instances of a release get users."""
    environments = shop.status()["environments"]
    found = {i["name"]: i["up"] for e in environments if e["role"] == "stable" for i in e["instances"]}
    return found == {f"{shop.name}-r{release}-{n}": True for n in range(1, size + 1)}


@pytest.mark.long("sizes with drains, and a deploy, of processes and on an engine")
def test_no_request_is_lost_by_a_change_of_size(shop: Shop) -> None:
    shop.write(replicas=2)
    shop.live("1.0")
    with Load(shop.url, USERS) as load:
        load.until(lambda now: now.answered > 50, "the load has started")
        done = shop.deploy("scale", "4", "--for", "1h", "-m", "sale")
        assert done.stdout.endswith("2 instances, 4 are wanted: done\n")
        assert "no keeper runs, which would end it" in done.stderr
        assert up(shop, 1, 4)
        said = shop.deploy("scale").stdout
        assert "has 4 of 4 instances" in said
        assert "wants (sale), until " in said
        shop.version("2.0")
        shop.deploy("bluegreen", "--bake", "0", "--version", "2.0")
        assert up(shop, 2, 4), "a deploy meanwhile has that size"
        shop.deploy("scale", "1")
        assert up(shop, 2, 1)
        shop.deploy("scale", "--auto")
        assert up(shop, 2, 2)
        report = load.stop()
    assert report.failed == 0, report.text()
    rows = shop.events("history")[0]["rollouts"]
    assert [row["strategy"] for row in rows[:4]] == ["scale", "scale", "bluegreen", "scale"]
