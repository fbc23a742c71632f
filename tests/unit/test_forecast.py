"""What a plan says of the traffic that it needs."""

from __future__ import annotations

from typing import Any

import pytest

from deployer.app.forecast import evidence, needed
from deployer.judge.plan import IN_PRACTICE, answers_needed
from deployer.model import Environment, Instance, Live, Observed, Release
from deployer.planning.plan import Plan
from deployer.planning.steps import Watch
from deployer.planning.strategy import load
from tests.house import REPOSITORY, manifest


def planned(traffic: dict[str, Any] | None = None, *, proof: str = "required", **options: Any) -> tuple[Plan, Release]:
    described = manifest(traffic=traffic or {}, judge={"proof": proof})
    old, new = (Release("shop", n, f"{n}.0", "shop", f"sha256:{n}", described, f"hash{n}") for n in (1, 2))
    standing = Instance("shop", "blue", 1, 1, "shop-r1-1", "id", "127.0.0.1:21000", "running")
    observed = Observed("shop", Live("blue"), old, blue=Environment("shop", "blue", 1, (standing,)))
    canary = load("canary", REPOSITORY)
    return canary.make(observed, new, canary.parse(options)), new


def watches(plan: Plan) -> list[Watch]:
    return [s for s in plan.forward if isinstance(s, Watch)]


def test_each_open_ended_step_says_what_it_takes() -> None:
    plan, release = planned(steps=[5, 50])
    amounts, hurry = evidence(plan, release.manifest)
    at_most = round(IN_PRACTICE * answers_needed(release.manifest.judge, 5000, 10000, 0.001))
    assert needed(release.manifest, watches(plan)[1]) == at_most
    assert " clients at " in amounts
    assert " at 5%, " in amounts
    assert " at 50% (" in amounts
    assert "within 30 min" in hurry


def test_steps_that_end_by_their_time_say_when_and_with_how_little_they_cannot() -> None:
    plan, release = planned(proof="optional")
    amounts, by_time = evidence(plan, release.manifest)
    assert " at 5%, " in amounts
    assert by_time == (
        "without it a step ends after 10 min if no regression was found; with fewer than 0.67 requests a second it is "
        "inconclusive: at least 20 responses of the candidate are needed at 5%"
    )


def test_steps_of_fixed_time_need_no_forecast() -> None:
    options: dict[str, Any] = {"for": "1m"}
    plan, release = planned(**options)
    assert evidence(plan, release.manifest) == ()


def test_requests_count_where_no_client_keeps_its_side() -> None:
    plan, release = planned({"sticky": False})
    assert " requests at " in evidence(plan, release.manifest)[0]


@pytest.mark.parametrize("share", [5, 50])
def test_beside_a_baseline_only_the_two_compared_parts_count(share: float) -> None:
    (plan, release), (fresh, _) = planned(steps=[share]), planned(steps=[share], baseline="fresh")
    alone, beside = (needed(release.manifest, watches(p)[0]) for p in (plan, fresh))
    assert beside == pytest.approx(alone) if share == 50 else beside > alone
