"""What a step lets pass that ends by its time: bad releases of a quiet service, with the canary of five lines.

`python -m tests.simulation.test_lenient` prints the table of `docs/quiet.md`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pytest

from bench.contenders.ours import Ours
from bench.scenarios import play
from bench.traffic.world import Clients, Drift, World, steady
from tests.simulation.many import SURPRISE, Many, improbable, many, upper_tail
from tests.tiers import draws, seeds

WITHIN = 600.0
STEPS = tuple((n * WITHIN, share) for n, share in enumerate((500, 2500, 5000)))
TICK = 5.0
FAULTS: Mapping[str, Drift] = {
    "as good as stable": Drift(),
    "fails 2%": Drift(add=0.02),
    "fails 5%": Drift(add=0.05),
    "fails 10%": Drift(add=0.1),
    "fails 20%": Drift(add=0.2),
    "fails 50%": Drift(add=0.5),
    "fails always": Drift(add=1.0),
    "twice as slow": Drift(slower=2.0),
}


def quiet(fault: Drift, rps: float, *, sticky: bool = False) -> World:
    clients = Clients(number=round(60 * rps), bad=0.0, stay=60.0) if sticky else None
    about = f"{rps:g} requests a second"
    return World(
        about, rps=rps, seconds=3 * WITHIN, steps=STEPS, weather=steady(0.001), fault=fault, clients=clients, tick=TICK
    )


def ended(job: tuple[World, int]) -> str:
    """Play the steps to their times; return how the rollout ends: promoted, worse or inconclusive."""
    world, seed = job
    judge = Ours(sticky=world.clients is not None)
    share, passes = 0, True
    for tick in play(world, seed):
        if tick.sample.share != share and not passes:
            return "inconclusive"
        share = tick.sample.share
        if judge.observe(tick):
            return "worse"
        passes = bool(judge.verdict and judge.verdict.enough)
    return "promoted" if passes else "inconclusive"


def outcomes(rollouts: Many, world: World, number: int) -> Counter[str]:
    return Counter(rollouts.each(ended, [(world, seed) for seed in seeds(number)]))


@pytest.mark.parametrize(("sticky", "through"), [(False, 0.85), (True, 0.55)])
def test_a_release_as_good_as_stable_gets_through_at_a_request_a_second(
    rollouts: Many, sticky: bool, through: float
) -> None:
    """Few clients that keep their side may leave a step without any: that is inconclusive, not worse."""
    number = draws(100, 20)
    found = outcomes(rollouts, quiet(Drift(), 1.0, sticky=sticky), number)
    assert not improbable(found["worse"], number, 0.01), "the promise of alpha is that of the strict form"
    assert found["promoted"] > through * number, found


@pytest.mark.parametrize(("fault", "missed"), [("fails 20%", 0.05), ("fails 50%", 0.01), ("fails always", 0.01)])
def test_a_plainly_bad_release_does_not(rollouts: Many, fault: str, missed: float) -> None:
    number = draws(100, 20)
    found = outcomes(rollouts, quiet(FAULTS[fault], 1.0), number)
    assert upper_tail(found["promoted"], number, missed) >= SURPRISE, found


def test_without_enough_responses_nothing_gets_through(rollouts: Many) -> None:
    for fault in ("as good as stable", "fails always"):
        assert not outcomes(rollouts, quiet(FAULTS[fault], 1 / 60), draws(40, 10))["promoted"]


def main() -> None:
    """Print the table of the docs."""
    with many() as rollouts:
        for rps, sticky in ((1.0, False), (1.0, True), (5.0, False)):
            for name, fault in FAULTS.items():
                found = outcomes(rollouts, quiet(fault, rps, sticky=sticky), 100)
                told = ", ".join(f"{what} {found[what]}" for what in ("promoted", "worse", "inconclusive"))
                print(f"{rps:g}/s{' sticky' if sticky else ''} {name}: {told}", flush=True)


if __name__ == "__main__":
    main()
