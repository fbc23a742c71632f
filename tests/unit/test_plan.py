"""What is refused as a plan."""

from __future__ import annotations

import pytest

from deployer.core.errors import Refused
from deployer.planning.plan import Plan
from deployer.planning.steps import Attach, Healthy, Promote, Remove, Share, Step

TWIN = Healthy(release=2, colour="green", deadline=30)
BESIDE = Attach(release=1, colour="baseline", deadline=30)
PROMOTE = Promote(release=2, colour="green", deadline=30)
AWAY = Remove(colour="baseline", release=1, deadline=30)
BACK = (Share(share=0, deadline=30), Remove(colour="green", release=2, deadline=30), AWAY)


def make(*forward: Step, back: tuple[Step, ...] = BACK) -> Plan:
    return Plan.make("shop", "mine", 1, 2, forward, back)


def both(share: int, baseline: int) -> Share:
    return Share(share=share, baseline=baseline, deadline=30)


def test_a_baseline_may_go_before_the_promotion_and_after_it() -> None:
    assert make(TWIN, BESIDE, both(500, 500), Share(share=0, deadline=30), AWAY, PROMOTE).commit == 5
    assert make(TWIN, BESIDE, both(5000, 5000), PROMOTE, AWAY).commit == 3


@pytest.mark.parametrize(
    ("forward", "back", "said"),
    [
        ((TWIN, both(500, 500), PROMOTE), BACK, "users to a baseline before it was found healthy"),
        ((TWIN, BESIDE, both(6000, 6000), PROMOTE), BACK, "candidate and baseline together get 120%"),
        ((TWIN, BESIDE, both(500, 500), PROMOTE), BACK[:2], "the rollback steps leave the baseline running"),
        ((BESIDE, both(500, 500), PROMOTE), BACK, "before the candidate was found healthy"),
        ((TWIN, Remove(colour="blue", deadline=30), PROMOTE), BACK, "stable environment would be emptied"),
    ],
)
def test_a_plan_that_could_hurt_is_refused(forward: tuple[Step, ...], back: tuple[Step, ...], said: str) -> None:
    with pytest.raises(Refused, match=said):
        make(*forward, back=back)
