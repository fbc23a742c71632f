"""A step takes as long as its evidence, and a cold start is compared with a cold start."""

from __future__ import annotations

import pytest

from tests.live.shop import Shop
from tests.live.told import Told
from tests.load import Load, Options

pytestmark = pytest.mark.live

USERS = Options(rate=100, kinds=("fresh", "busy", "sticky", "post"), clients=60, sticky_posts=0.3)
# Wide margins need few answers: a few hundred say what with the defaults takes thousands.
WIDE = {"errors": {"add": "5%"}, "latency": {"margin": "3x", "add": "50ms", "warmup": {"requests": 20, "for": "2s"}}}


def deployed(shop: Shop, *, expect: int = 0) -> Told:
    with Load(shop.url, USERS) as load:
        load.until(lambda now: now.answered > 600, "the load runs and stable is warm", 60)
        told = shop.told("canary", "--version", "2.0", expect=expect)
        report = load.stop()
    assert report.failed == 0, report.text()
    return told


@pytest.mark.long("a canary until it is proven good", every_change=True)
def test_a_good_release_under_good_traffic_waits_for_no_clock(process_shop: Shop) -> None:
    shop = process_shop
    shop.version("2.0")
    shop.write(judge=WIDE, strategy={"canary": {"steps": [25, 50], "within": "10m", "bake": "1s"}})
    told = deployed(shop)
    assert told.shares == (2500, 5000, 10000, 0)
    watches = [e["n"] for e in told.all("step.began", step="watch")]
    for n in watches[:2]:
        seconds = told.one("step.done", n=n)["seconds"]
        print(f"watch {n}: {seconds:.1f} s of 600 s")
        assert 10 <= seconds < 300, told.text()
    assert [e["verdict"] for e in told.all("verdict")].count("no worse") >= 1, told.text()
    assert not told.all("verdict", verdict="worse")


# The first 120 responses of an instance, of any release, take 90 ms: its cache is empty.
COLD = {"COLD": "120", "COLD_MS": "90"}


@pytest.fixture
def cold_shop(process_shop: Shop) -> Shop:
    """Return a service whose instances are slow at first, which the manifest does not forgive."""
    shop = process_shop
    shop.live("1.1", COLD)
    shop.version("2.0", COLD)
    shop.write(judge={"requests": 5, "latency": {"warmup": {"requests": 0, "for": "0s"}}})
    return shop


@pytest.mark.long("a canary beside a fresh baseline, until it is proven")
def test_a_cold_cache_is_held_against_nobody_beside_a_fresh_baseline(cold_shop: Shop) -> None:
    shop = cold_shop
    stages = [{"share": 20, "for": "6s"}]
    shop.write(strategy={"canary": {"steps": stages, "bake": "1s", "baseline": "fresh"}})
    told = deployed(shop)
    assert not told.all("verdict", verdict="worse"), told.text()
    sample = told.all("sample")
    judged = max(sample, key=lambda e: e["stable"]["requests"] + e["candidate"]["requests"])
    assert judged["candidate"]["requests"] > 20, judged
    status = shop.status()
    assert status["stable_version"] == "2.0"
    assert {e["version"] for e in status["environments"]} == {"1.1", "2.0"}
    assert sum(len(e["instances"]) for e in status["environments"]) == 4, "nothing of the baseline is left"


@pytest.mark.long("a canary until it is proven")
def test_a_cold_cache_is_seen_without_a_baseline(cold_shop: Shop) -> None:
    """The test of the test above: compared with a warm stable release, the same candidate looks slower."""
    shop = cold_shop
    stages = [{"share": 20, "for": "20s"}]
    shop.write(strategy={"canary": {"steps": stages, "bake": "1s"}})
    told = deployed(shop, expect=3)
    assert told.one("verdict", verdict="worse")
