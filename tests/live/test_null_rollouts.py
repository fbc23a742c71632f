"""Releases that are exactly as good as what is live: none may be rolled back, whatever the traffic looks like."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from deployer.model import FULL
from tests.live.conftest import Make
from tests.live.shop import Shop
from tests.live.told import Told
from tests.load import Load, Options

pytestmark = [pytest.mark.live, pytest.mark.crowd, pytest.mark.long("54 whole canaries")]

ROLLOUTS = 9  # of each service
# As it is everywhere: some answers fail, some take longer.
AS_EVER = {"ERR": "0.02", "LAT": "2", "JIT": "8", "TAIL": "0.02", "TAIL_MS": "30"}
TRAFFIC = {
    "steady": Options(rate=50, kinds=("fresh", "busy", "post")),
    "steady and kept": Options(rate=50, kinds=("busy",), busy=8),
    "sticky": Options(rate=50, kinds=("sticky",), clients=60, sticky_posts=0.2),
    "few and sticky": Options(rate=50, kinds=("sticky",), clients=12),
    "bursts": Options(rate=50, kinds=("fresh", "busy", "post"), burst=(2.0, 0.2)),
    "sticky bursts": Options(rate=50, kinds=("sticky",), clients=60, burst=(1.5, 0.2)),
}
JUDGE: dict[str, Any] = {
    # With 54 rollouts the default of 1% would be allowed to fail this test every other time; it does so far less.
    "alpha": 0.001,
    "requests": 0,  # few sticky clients may all be on stable
    "latency": {"warmup": {"requests": 20, "for": "1s"}},
}


@pytest.fixture
def shops(make_shop: Make) -> dict[str, Shop]:
    """Return a service for each kind of traffic, all behind the same proxy."""
    made: dict[str, Shop] = {}
    for name in TRAFFIC:
        shop = made[name] = make_shop("process")
        shop.state = next(iter(made.values())).state
        stages = [{"share": 20, "for": "2s"}, {"share": 50, "for": "3s"}]
        shop.write(replicas=1, judge=JUDGE, strategy={"canary": {"steps": stages, "bake": "1s"}})
        shop.version("1.0", AS_EVER)
        shop.deploy("up", "--version", "1.0")
    return made


def rollouts(shop: Shop) -> list[Told]:
    """Bring out the same again and again."""
    told = []
    for number in range(ROLLOUTS):
        version = f"1.{number + 1}"
        shop.version(version, AS_EVER)
        told.append(shop.told("canary", "--version", version))
    return told


def test_none_of_54_rollouts_of_the_same_is_taken_back(shops: dict[str, Shop]) -> None:
    with ExitStack() as stack, ThreadPoolExecutor(len(shops)) as pool:
        for name, shop in shops.items():
            load = stack.enter_context(Load(shop.url, TRAFFIC[name]))
            load.until(lambda now: now.answered > 20, f"the load runs: {name}", 30)
        all_told = [told for part in pool.map(rollouts, shops.values()) for told in part]
    assert len(all_told) == ROLLOUTS * len(TRAFFIC) >= 50
    for told in all_told:
        assert told.ended["exit"] == 0, told.text()
        assert not told.all("verdict", verdict="worse"), told.text()
    judged = [max(compared(told), default=0) for told in all_told]
    print(f"{len(all_told)} rollouts, {sum(judged)} answers of candidates compared in their last watches")
    assert sum(judged) > 20 * len(all_told)


def compared(told: Told) -> list[int]:
    """How many responses of the candidate were there to compare, look by look."""
    return [sample["candidate"]["requests"] for sample in told.all("sample") if sample["share_target"] < FULL]
