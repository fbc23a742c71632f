"""Verdicts: what they say, and how soon they are right; how often they are wrong is tried by simulation."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from deployer.judge import Verdict, Verdicts
from deployer.model import FULL, Coins, Counts, Sample
from tests.looks import coin, errors_only, judge, runs_until_shown, runs_until_worse, sample, timed

# -- what they say


def test_a_worse_candidate_is_named_with_the_measured_values() -> None:
    verdicts = Verdicts(judge(), sticky=False)
    verdicts.observe(sample((5000, 5), (0, 0), share=0), 0)

    verdict = verdicts.observe(sample((2940, 3), (110, 20)), 1)

    assert verdict.kind == "worse"
    assert not verdict.enough
    assert verdict.text == ("candidate 18.2% errors (20 of 110), stable 0.1% (3 of 2,940); 1.5x or +0.1% is allowed")
    assert verdict.values["candidate_errors"] == 20
    assert verdict.values["stable_requests"] == 2940
    assert verdict.values["candidate_rate"] > verdict.values["limit"]
    assert verdict.values["evidence"] >= verdict.values["evidence_needed"] == pytest.approx(100)
    assert verdict.values["parts"]["errors"]["evidence"] > 100 > verdict.values["parts"]["latency"]["evidence"]
    assert 1 < verdict.values["error_ratio_low"] < 20 / 110 / 0.001 < verdict.values["error_ratio_high"]


def test_a_slower_candidate_is_named_with_the_quantile_in_which_it_is_slowest() -> None:
    random_ = random.Random(1)
    found = runs_until_worse(Verdicts(judge(), sticky=False), lambda n: timed(random_, 50, 1000, 40, 120), 400)

    assert found is not None
    quantile, rest = found[1].text.removeprefix("candidate ").split(" ", 1)
    assert quantile in ("p50", "p90", "p99")
    assert rest.endswith(" ms: slower; 1.25x or +5 ms is allowed")
    assert found[1].values["parts"]["latency"]["evidence"] > 100


@pytest.mark.parametrize("sticky", [True, False])
def test_what_the_margin_allows_is_not_called_worse_however_often_it_is_seen(sticky: bool) -> None:
    """Stable never fails, the candidate does with every 200th answer: half of what may be added."""
    verdicts = Verdicts(errors_only(errors={"add": "1%"}), sticky=sticky)
    verdicts.begin(1000, FULL)
    for n in range(1, 1001):
        verdict = verdicts.observe(sample((45, 0), (5, int(n % 40 == 0)), sticky=sticky), n / 4)
        assert verdict.kind != "worse", verdict.text
    for n in range(1001, 3001):  # and at twice of it
        verdict = verdicts.observe(sample((45, 0), (5, int(n % 10 == 0)), sticky=sticky), n / 4)
    assert verdict.kind == "worse"
    assert verdict.text.endswith(" in the last minute; 1.5x or +1% is allowed")


def test_what_is_shown_and_what_is_missing_is_named() -> None:
    random_ = random.Random(2)
    verdicts = Verdicts(judge(), sticky=False)
    verdicts.begin(5000, FULL)
    for n in range(200):
        verdict = verdicts.observe(timed(random_, 10, 5000, 40, 40), n / 4)

    assert verdict.kind == "inconclusive"
    assert verdict.enough
    assert ": no worse proven for p50; errors and p99 not yet: about " in verdict.text
    assert verdict.text.endswith(",000 more responses needed")
    proofs = verdict.values["proofs"]
    assert proofs["p50"]["progress"] == 1 > proofs["p99"]["progress"] > 0
    assert proofs["p50"]["answers_needed"] == 0 < proofs["p99"]["answers_needed"] < proofs["errors"]["answers_needed"]
    assert proofs["p99"]["limit"] == pytest.approx(1.25 * proofs["p99"]["stable"], rel=1e-3)


def test_clients_are_asked_for_where_clients_are_thrown() -> None:
    verdict = Verdicts(errors_only(), sticky=True).observe(sample((500, 0), (50, 0), sticky=True), 0)

    assert verdict.text.endswith(" more clients needed")


def test_a_cold_candidate_is_waited_for() -> None:
    verdict = Verdicts(judge(), sticky=False).observe(sample((500, 0), (50, 0)), 0)

    assert verdict.kind == "inconclusive"
    assert verdict.text.endswith(
        "not yet proven no worse in errors, p50 and p99; latency counts after 200 responses or 60 s"
    )


def test_no_worse_is_shown_sooner_for_a_small_share_than_for_everybody() -> None:
    looks = {}
    for following in (2500, FULL):
        random_ = random.Random(3)
        verdicts = Verdicts(errors_only(errors={"add": "1%"}), sticky=False)
        verdicts.begin(5000, following)
        found = runs_until_shown(verdicts, lambda n: coin(random_, 25, 5000, 0.01, 0.01), 4000)  # noqa: B023
        assert found is not None
        looks[following] = found[0]
        assert "proven no worse than " in found[1].text
        assert ("before 25%" in found[1].text) == (following == 2500)

    assert looks[2500] < looks[FULL] / 2


def test_a_step_begins_its_proof_afresh() -> None:
    random_ = random.Random(4)
    verdicts = Verdicts(errors_only(errors={"add": "1%"}), sticky=False)
    verdicts.begin(5000, 2500)
    assert runs_until_shown(verdicts, lambda n: coin(random_, 25, 5000, 0.01, 0.01), 4000)

    verdicts.begin(5000, FULL)

    verdict = verdicts.observe(coin(random_, 25, 5000, 0.01, 0.01), 5000)
    assert verdict.kind == "inconclusive"
    assert verdict.values["step_requests"] < 25


def test_a_share_that_cannot_follow_is_refused() -> None:
    with pytest.raises(ValueError, match="following share of 0"):
        Verdicts(judge(), sticky=False).begin(1000, 0)


def test_enough_for_a_step_of_fixed_time_is_asked_of_each_step() -> None:
    verdicts = Verdicts(judge(requests=20), sticky=False)
    verdicts.begin(1000, 2500)

    assert not verdicts.observe(sample((100, 0), (19, 0)), 0).enough
    assert verdicts.observe(sample((9, 0), (1, 0)), 1).enough

    verdicts.begin(2500, FULL)
    assert not verdicts.observe(sample((10, 0), (5, 0), share=2500), 2).enough
    assert verdicts.observe(sample((45, 0), (15, 0), share=2500), 3).enough


def test_no_traffic_at_all_cannot_be_judged() -> None:
    verdict = Verdicts(judge(), sticky=True).observe(sample((0, 0), (0, 0)), 0)

    assert (verdict.kind, verdict.enough) == ("inconclusive", False)
    assert "has no responses" in verdict.text


def test_answers_whose_share_has_ended_meanwhile_count_all_the_same() -> None:
    verdicts = Verdicts(errors_only(), sticky=False)
    verdicts.begin(1000, FULL)
    late = replace(sample((13, 0), (4, 3), 1000), share=0)

    verdict = verdicts.observe(late, 100)

    assert verdict.text.startswith("candidate 75% errors (3 of 4), stable 0% (0 of 13)")
    assert verdict.values["candidate_errors"] == 3


def test_samples_without_coins_are_shown_and_not_judged() -> None:
    verdicts = Verdicts(judge(), sticky=False)

    for n in range(10):
        verdict = verdicts.observe(Sample(Counts(900, 0), Counts(100, 90), 1000), n)

    assert verdict.kind == "inconclusive"
    assert verdict.text.startswith("candidate 90% errors (900 of 1,000)")


def test_worse_stays_worse() -> None:
    verdicts = Verdicts(judge(), sticky=False)
    worse = verdicts.observe(sample((900, 0), (100, 50)), 0)

    assert worse.kind == "worse"
    assert verdicts.observe(sample((900_000, 0), (100_000, 0)), 1) == worse


@pytest.mark.parametrize("sticky", [True, False])
@pytest.mark.parametrize("routes", [(), ("/checkout",)])
def test_values_are_plain_json_however_strong_the_evidence(sticky: bool, routes: tuple[str, ...]) -> None:
    verdicts = Verdicts(judge(), sticky=sticky, routes=routes)
    for drawn in (sample((0, 0), (0, 0)), sample((10**9, 0), (10**8, 10**8), sticky=True)):
        verdict = verdicts.observe(drawn, 0)
        assert json.loads(json.dumps(verdict.values, allow_nan=False)) == verdict.values

    assert verdict.values["evidence"] == 1e15


@pytest.mark.parametrize(
    "bad",
    [
        sample((1, 2), (0, 0)),
        sample((0, 0), (5, -1)),
        sample((1, 0), (1, 0), share=FULL + 1),
        Sample(Counts(), Counts(), 1000, coins=(Coins(1.5),)),
        Sample(Counts(), Counts(), 1000, routes=((0, (Coins(0.5, Counts(1, 2)),)),)),
    ],
)
def test_samples_that_cannot_be_are_refused(bad: Sample) -> None:
    with pytest.raises(ValueError, match=r"cannot be|not between"):
        Verdicts(judge(), sticky=False, routes=("/a",)).observe(bad, 0)


def test_lost_lines_are_reported() -> None:
    verdicts = Verdicts(judge(), sticky=False)
    verdicts.observe(sample((1, 0), (1, 0), lost=3), 0)

    assert verdicts.observe(sample((1, 0), (1, 0), lost=4), 1).values["lost"] == 7


# -- routes


def on_route(drawn: Sample, of_route: Sample) -> Sample:
    return Sample(drawn.stable, drawn.candidate, drawn.share, coins=drawn.coins, routes=((0, of_route.coins),))


@pytest.mark.parametrize("sticky", [True, False])
def test_a_route_that_fails_is_found_although_the_whole_is_fine(sticky: bool) -> None:
    random_ = random.Random(6)
    verdicts = Verdicts(errors_only(), sticky=sticky, routes=("/checkout",))

    def draw(n: int) -> Sample:
        # A hundred-and-fiftieth of the traffic, and all of the candidate's answers there are errors.
        of_route = coin(random_, 1, 2500, 0.01, 1.0) if n % 3 == 0 else sample((0, 0), (0, 0), 2500)
        return on_route(coin(random_, 50, 2500, 0.01, 0.01), of_route)

    found = runs_until_worse(verdicts, draw, 400)

    assert found is not None
    assert found[1].text.startswith("/checkout: ")
    assert ("clients of the candidate saw an error" in found[1].text) == sticky


def test_a_route_must_be_shown_to_be_no_worse_too() -> None:
    random_ = random.Random(7)
    config = errors_only(errors={"add": "5%"})
    verdicts = Verdicts(config, sticky=False, routes=("/checkout",))
    quiet = Verdicts(config, sticky=False, routes=("/checkout",))

    def draw(n: int) -> Sample:
        drawn = coin(random_, 25, 5000, 0.01, 0.01)
        return on_route(drawn, coin(random_, 5, 5000, 0.01, 0.01))

    assert runs_until_shown(verdicts, draw, 400)
    assert runs_until_shown(quiet, lambda n: coin(random_, 25, 5000, 0.01, 0.01), 400) is None
    assert "/checkout not yet" in quiet.observe(sample((1, 0), (1, 0)), 100).text


def test_routes_that_are_not_judged_are_left_out() -> None:
    broken = on_route(sample((900, 0), (100, 0)), sample((90, 0), (10, 10)))

    assert Verdicts(errors_only(), sticky=False, routes=("/a",)).observe(broken, 0).kind == "worse"
    assert Verdicts(errors_only(), sticky=False).observe(broken, 0).kind == "inconclusive"


# -- what is no evidence


def test_one_error_in_five_requests_a_minute_is_no_evidence() -> None:
    verdicts = Verdicts(judge(), sticky=False)

    for minute in range(30):
        verdict = verdicts.observe(sample((45, 0), (5, 1 if minute == 3 else 0)), 60 * minute)
        assert verdict.kind == "inconclusive"


def test_a_client_that_fails_again_and_again_counts_once() -> None:
    verdicts = Verdicts(judge(), sticky=True)
    thrown = Coins(0.1, Counts(900, 0), Counts(100, 1), (0, 1))
    verdicts.observe(Sample(Counts(900, 0), Counts(100, 1), 1000, coins=(thrown,)), 0)

    for n in range(1000):  # the same client asks on, and no new one comes
        assert verdicts.observe(Sample(Counts(40, 0), Counts(10, 5), 1000), n / 4).kind == "inconclusive"


# -- how soon they are right


def test_a_candidate_that_breaks_late_is_found_soon() -> None:
    random_ = random.Random(3)
    verdicts = Verdicts(judge(), sticky=True)

    def draw(n: int) -> Sample:
        return coin(random_, 25, 1000, 0.005, 0.005 if n < 1200 else 0.5)

    found = runs_until_worse(verdicts, draw, 1300)  # five good minutes, then half of the answers are errors

    assert found is not None
    assert 3000 * 0.9 < found[0] < 3000 * 1.1 + 60


# -- errors that are tolerated


def test_tolerated_errors_grow_with_what_the_candidate_answered() -> None:
    verdicts = Verdicts(judge(), sticky=False)
    assert verdicts.tolerated_errors == 0
    verdicts.begin(1000, 2500)
    verdicts.observe(sample((900, 9), (100, 1)), 0)
    assert verdicts.tolerated_errors == pytest.approx(1.5)

    verdicts.begin(5000, FULL)
    verdicts.observe(sample((1000, 0), (1000, 0), share=5000), 1)

    assert verdicts.tolerated_errors == pytest.approx(1.5 + 1.0)


def test_an_outage_of_both_sides_raises_what_is_tolerated() -> None:
    verdicts = Verdicts(judge(), sticky=False)
    verdicts.begin(1000, 2500)
    verdicts.observe(sample((9000, 9), (1000, 1)), 0)
    verdicts.observe(sample((900, 600), (100, 66)), 1)

    assert verdicts.tolerated_errors > 66


def test_alone_the_known_rate_of_stable_counts_else_the_absolute_limit() -> None:
    known, unknown = Verdicts(judge(), sticky=False), Verdicts(judge(), sticky=False)
    known.observe(sample((50_000, 500), (0, 0)), 0)
    for verdicts in (known, unknown):
        verdicts.begin(FULL, FULL)
        verdicts.observe(sample((0, 0), (1000, 0), share=FULL), 1)

    assert known.tolerated_errors == pytest.approx(15, rel=0.02)
    assert unknown.tolerated_errors == pytest.approx(100)


# -- alone


def alone(rates: Sequence[float], share: int = FULL, **more: Any) -> list[Verdict]:
    random_ = random.Random(9)
    verdicts = Verdicts(judge(**more), sticky=True)
    return [verdicts.observe(coin(random_, 20, share, 0.0, rate), n / 4) for n, rate in enumerate(rates)]


def test_at_a_full_share_the_absolute_limit_holds() -> None:
    good, bad = alone([0.05] * 200), alone([0.5] * 10)

    assert {v.kind for v in good} == {"inconclusive"}
    assert bad[-1].kind == "worse"
    assert bad[-1].text.endswith(" of 20), 10% is allowed")
    assert good[-1].enough
    assert good[-1].text.endswith("10% is allowed, and there is nothing to compare with")
    assert bad[-1].values["limit"] == 0.1


def test_without_stable_answers_the_absolute_limit_holds_too() -> None:
    verdicts = Verdicts(judge(), sticky=True)

    first = verdicts.observe(sample((0, 0), (40, 30), share=9999), 0)
    second = verdicts.observe(sample((0, 0), (40, 30), share=9999), 1)

    assert (first.kind, second.kind) == ("inconclusive", "worse")
    assert second.text == "candidate 75% errors (30 of 40), 10% is allowed"


def test_an_outage_at_the_first_look_is_no_fault_of_the_candidate() -> None:
    verdicts = Verdicts(judge(), sticky=True)

    for n in range(10):
        assert verdicts.observe(sample((90, 90), (10, 10), sticky=True), n).kind == "inconclusive"


def test_absolute_limits_at_the_ends() -> None:
    assert {v.kind for v in alone([1.0] * 20, errors={"max": "100%"})} == {"inconclusive"}

    verdicts = Verdicts(judge(errors={"max": 0}), sticky=True)
    assert verdicts.observe(sample((0, 0), (1000, 0), share=FULL), 0).kind == "inconclusive"
    assert verdicts.observe(sample((0, 0), (10, 1), share=FULL), 1).kind == "worse"


@pytest.mark.parametrize("sticky", [True, False])
def test_a_long_good_time_does_not_hide_a_release_that_breaks_late_however_wide_the_margin(sticky: bool) -> None:
    verdicts = Verdicts(errors_only(errors={"add": "5%"}), sticky=sticky)
    verdicts.begin(1000, FULL)
    for n in range(1, 1001):
        assert verdicts.observe(sample((45, 0), (5, 0), sticky=sticky), n / 4).kind != "worse"
    bad = 0
    for n in range(1001, 1201):
        bad += 5
        if verdicts.observe(sample((45, 0), (5, 5), sticky=sticky), n / 4).kind == "worse":
            break
    assert bad <= 100, "of 5,000 good ones before it, 5% would have been 250"
