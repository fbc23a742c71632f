"""Latency: bins and quantiles, exactly and from a sample's buckets, cold starts, and very fast services."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployer.judge import Comparison
from deployer.judge.cuts import Cuts
from deployer.judge.histogram import Histogram, bucket, coarsened
from deployer.judge.margin import Margin
from deployer.judge.quantile import QuantilePromote, Threshold
from deployer.manifest.models import Judge
from deployer.model import LATENCY_BOUNDS, Counts, latency_bucket
from tests.unit.judge_streams import before

TIMES = st.floats(0.01, 100_000)
MARGIN = Margin(1.25, 5.0)
WORSE, SHOWN = math.log(100), math.log(20)


def known(*times: float) -> Histogram:
    histogram = Histogram()
    for ms in times:
        histogram.add(bucket(ms))
    return histogram


def fine(ms: float) -> list[int]:
    counts = [0] * len(LATENCY_BOUNDS)
    counts[latency_bucket(ms)] = 1
    return counts


SLOW = known(*(50 * (k / (1000 - k)) ** 0.3 for k in range(1, 1000)))
FAST = known(*(0.3 + k / 400 for k in range(1000)))  # 0.3 to 2.8 ms


@pytest.mark.parametrize("times", [SLOW, FAST], ids=["slow", "fast"])
@given(ms=TIMES)
def test_a_samples_buckets_never_make_it_easier_to_conclude(times: Histogram, ms: float) -> None:
    cuts, limit = Cuts.at_quantiles(times, MARGIN), Threshold.of(0.9, times, MARGIN)

    assert cuts.candidate_counts(fine(ms)).index(1) <= cuts.candidate_bin(ms)
    assert cuts.stable_counts(fine(ms)).index(1) == cuts.stable_bin(ms)
    classes = limit.classes(fine(ms), fine(ms))
    assert classes[:3].index(1) == limit.stable_class(ms) or ms in (limit.stable, limit.tie)
    assert 3 + classes[3:].index(1) >= limit.candidate_class(ms)


@given(ms=TIMES)
def test_the_buckets_of_a_sample_are_parts_of_those_of_the_histogram(ms: float) -> None:
    assert coarsened(fine(ms)) == {bucket(ms): 1}


def test_a_candidate_is_allowed_five_percent_or_what_the_margin_adds() -> None:
    slow, fast = Cuts.at_quantiles(SLOW, MARGIN), Cuts.at_quantiles(FAST, MARGIN)

    assert slow.candidate == pytest.approx([1.05 * edge for edge in slow.stable])
    assert fast.candidate == pytest.approx([edge + 5 for edge in fast.stable])


def test_quantiles_of_tied_times_count_ties_by_parts() -> None:
    tied = known(*[0.2] * 990, *[3.0] * 10)
    half, tail = Threshold.of(0.5, tied, MARGIN), Threshold.of(0.99, tied, MARGIN)

    assert (half.stable, half.candidate, half.tie) == (1.0, 6.0, 0.0)
    assert 0.01 + half.tied * 0.99 == pytest.approx(0.5)
    assert [half.stable_class(ms) for ms in (0.2, 3.0)] == [1, 2]
    assert half.classes(fine(0.2), fine(7.0)) == [0, 1, 0, 0, 1]
    assert tail.tied == 0
    assert tail.stable_class(0.2) == 0


@given(st.sampled_from([0.01, 0.1, 0.5]), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_ties_do_not_let_a_proof_gain(p: float, slow: float, ties: float, beyond: float) -> None:
    proof = QuantilePromote(0.5, known(*[0.2] * 990, *[3.0] * 10), MARGIN)
    assert proof.threshold
    tied, stable_ties = proof.threshold.tied, (1 - slow) * ties
    least = slow + tied * stable_ties  # part of stable's answers that counts as slow
    candidate = least + (1 - least) * beyond

    for bet in proof.bets(p, proof.threshold):
        tie = tied * math.exp(bet.stable_bad) + (1 - tied) * math.exp(bet.stable_ok)
        quick = 1 - slow - stable_ties
        of_stable = quick * math.exp(bet.stable_ok) + stable_ties * tie + slow * math.exp(bet.stable_bad)
        of_candidate = (1 - candidate) * math.exp(bet.candidate_ok) + candidate * math.exp(bet.candidate_bad)
        assert (1 - p) * of_stable + p * of_candidate <= 1 + 1e-9


def run(comparison: Comparison, stable: float, candidate: float, requests: int, cold: int = 0, p: float = 0.5) -> int:
    """Send requests whose times are spread around these medians; return the request of the alarm, 0 for none."""
    random_, served = random.Random(4), 0
    for n in range(requests):
        side = random_.random() < p
        served += side
        median = candidate * (5 if served <= cold else 1) if side else stable
        comparison.observe(p, candidate=side, error=False, ms=median * random_.lognormvariate(0, 0.5))
        if n % 25 == 24:
            comparison.look(n / 100)
            if comparison.log_worse >= WORSE:
                return n + 1
    return 0


def compared(**latency: object) -> Comparison:
    comparison = Comparison(Judge.model_validate({"latency": latency}), sticky=False)
    comparison.teach(before())
    return comparison


def test_a_cold_start_is_forgiven() -> None:
    assert run(compared(), 50, 50, 4000, cold=150) == 0
    assert run(compared(warmup={"requests": 0}), 50, 50, 4000, cold=150) > 0


def test_the_warmup_ends_by_requests_or_by_time() -> None:
    by_requests, by_time = compared(warmup={"for": "10h"}), compared(warmup={"requests": 100_000})

    assert 400 < run(by_requests, 50, 100, 4000) < 700
    assert 6000 < run(by_time, 50, 100, 8000) < 6400


def proved(comparison: Comparison) -> set[str]:
    return {proof.name for proof in comparison.proofs if proof.log_evidence >= SHOWN}


def test_a_fast_service_may_be_slower_by_what_the_margin_adds() -> None:
    comparison = Comparison(Judge(), sticky=False)
    assert run(comparison, 0.5, 1.2, 8000) == 0, "twice as slow, but by less than 5 ms"
    assert {"p50", "p99"} <= proved(comparison)

    assert run(Comparison(Judge(), sticky=False), 0.5, 20.0, 6000) > 0


def test_a_service_whose_times_all_fall_into_one_bucket_can_be_shown_to_be_no_worse() -> None:
    comparison = Comparison(Judge(), sticky=False)
    comparison.teach(Counts(1000, 0, (1000,)))
    for n in range(4000):
        comparison.observe(0.5, candidate=n % 2 == 0, error=False, ms=0.4)
        if n % 25 == 24:
            comparison.look(n / 100)

    assert {"p50", "p99"} <= proved(comparison)


@pytest.mark.parametrize("slower", [1.0, 1.04])
def test_a_candidate_within_the_allowance_raises_no_alarm(slower: float) -> None:
    assert run(compared(), 50, 50 * slower, 20_000) == 0
