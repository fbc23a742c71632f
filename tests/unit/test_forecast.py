"""What a plan says of the traffic that it needs."""

from __future__ import annotations

from typing import Any

import pytest

from deployer.app.forecast import evidence, first_line, needed
from deployer.judge.plan import IN_PRACTICE, answers_needed
from deployer.model import Environment, Instance, Live, MeasuredTraffic, Observed, Release
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
        "without a proof a step ends after 10 min if no regression was found; with fewer than 0.67 requests a second "
        "it is inconclusive: at least 20 responses of the candidate are needed at 5%"
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


# -- with the traffic that the proxy measures


def forecast(rate: float, seconds: float = 7200.0, proof: str = "optional", **options: Any) -> str:
    plan, release = planned(proof=proof, **options)
    return first_line(plan, release.manifest, MeasuredTraffic(rate, seconds, rate))


def test_at_a_request_a_second_each_step_ends_by_its_time() -> None:
    assert forecast(1.0) == (
        "1 request a second on average over the last 2 h, 1 in the last second: about 30 min of comparing: "
        "5% 10 min (by time), 25% 10 min (by time), 50% 10 min (by time)"
    )


def test_with_just_enough_it_says_that_traffic_must_not_fall() -> None:
    assert "about 30 min of comparing, if traffic does not fall: " in forecast(0.7)


def test_a_busy_service_ends_with_proofs() -> None:
    assert "10 s (proven)" in forecast(5000.0)
    assert "(by time)" not in forecast(5000.0)


@pytest.mark.parametrize(
    ("rate", "said"),
    [
        (1 / 60, "at 5% about 0.5 of at least 20 responses in 10 min → `deploy canary --percent 50 --within 60m`, or"),
        (0.1, "at 5% about 3 of at least 20 responses in 10 min → `deploy canary --percent 50 --within 10m`, or"),
        (1 / 3600, "in 10 min → `deploy bluegreen`, with smoke tests; `deploy judge` compares recorded traffic"),
    ],
)
def test_what_cannot_be_decided_is_said_at_once_with_what_to_do_instead(rate: float, said: str) -> None:
    assert ": this cannot be decided: " in forecast(rate)
    assert said in forecast(rate)


def test_the_suggestion_can_be_decided() -> None:
    options: dict[str, Any] = {"percent": 50, "within": "60m"}
    assert "about 1 h of comparing" in forecast(1 / 60, **options)


def test_without_a_request_nothing_can_be_decided() -> None:
    assert forecast(0.0).startswith("no request came in the last 2 h: this cannot be decided: at 5% about 0 of")


def test_a_required_proof_that_will_not_come_is_said() -> None:
    assert "this cannot be decided: a proof at 5% needs about " in forecast(1.0, proof="required")
    assert "leave out `judge.proof: required`" in forecast(1.0, proof="required")


def test_a_fixed_time_waits_for_enough_responses() -> None:
    options: dict[str, Any] = {"for": "1m", "steps": [5]}
    assert "about 7 min of comparing, if traffic does not fall: 5% 7 min (by time)" in forecast(1.0, **options)
    assert "about 1 min of comparing" in forecast(100.0, **options)


def test_a_count_that_has_just_begun_says_nothing() -> None:
    assert forecast(0.5, seconds=10.0).startswith(
        "the traffic is not known yet; without a proof a step ends after 10 min"
    )
    assert forecast(50.0, seconds=10.0).startswith("50 requests a second")


def test_what_compares_nothing_is_not_forecast() -> None:
    plan, release = planned(steps=[100])
    assert first_line(plan, release.manifest, MeasuredTraffic(1.0, 7200.0, 1.0)) == ""
