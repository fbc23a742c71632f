"""The made-up streams are what they say: exact draws, the same for the same seed, fair coins; recordings as well."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from bench.playback import playback
from bench.scenarios import SCENARIOS, play
from bench.traffic.draws import Latencies, arrivals, binomial
from bench.traffic.world import Clients, Drift, Tick, World, outages, ramp, steady
from deployer.core.errors import Refused
from deployer.evidence.recording import Recorder
from deployer.model import FULL, Counts
from tests.simulation.many import upper_tail

DRAWS = 40_000


@pytest.mark.parametrize(("n", "p"), [(1, 0.3), (7, 0.5), (10, 0.001), (12, 0.73), (40, 0.05)])
def test_binomial_draws_follow_their_distribution(n: int, p: float) -> None:
    dice = Random(1)
    seen = Counter(binomial(dice, n, p) for _ in range(DRAWS))
    expected = {k: DRAWS * math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)}
    often = [k for k in expected if expected[k] >= 5]
    square = sum((seen[k] - expected[k]) ** 2 / expected[k] for k in often)
    assert square < len(often) + 6 * math.sqrt(2 * len(often))  # six deviations of a chi-square


@pytest.mark.parametrize(("n", "p", "hits"), [(0, 0.5, 0), (9, 0.0, 0), (9, 1.0, 9)])
def test_binomial_draws_at_the_edges(n: int, p: float, hits: int) -> None:
    assert binomial(Random(1), n, p) == hits


@pytest.mark.parametrize("expected", [0.02, 0.9, 25.0])
def test_arrivals_are_as_many_as_expected(expected: float) -> None:
    dice = Random(1)
    mean = sum(arrivals(dice, expected) for _ in range(DRAWS)) / DRAWS
    assert mean == pytest.approx(expected, abs=5 * math.sqrt(expected / DRAWS))


def quantiles(latencies: Latencies, pace: float = 1.0) -> tuple[float, float]:
    counts = Counts(DRAWS, 0, latencies.draw(Random(1), DRAWS, pace)[0])
    p50, p99 = counts.quantile(0.5), counts.quantile(0.99)
    assert p50 is not None
    assert p99 is not None
    return p50, p99


def test_answer_times_follow_their_distribution() -> None:
    usual = Latencies.lognormal(median=50, sigma=0.5)
    p99 = 50 * math.exp(0.5 * 2.3263)
    assert quantiles(usual) == pytest.approx((50, p99), rel=0.03)
    assert quantiles(usual.slowed(1.5)) == pytest.approx((75, 1.5 * p99), rel=0.03)
    assert quantiles(usual, pace=2.0) == pytest.approx((100, 2 * p99), rel=0.03)
    assert quantiles(usual.slowed(tail=0.02)) == pytest.approx((50, 10 * 50), rel=0.08)  # p99: the middle of the tail


@pytest.mark.parametrize(("hits", "of", "p"), [(0, 10, 0.3), (4, 10, 0.3), (16, 340, 0.01), (41, 2040, 0.01)])
def test_a_surprise_is_measured_exactly(hits: int, of: int, p: float) -> None:
    below = sum(math.comb(of, k) * p**k * (1 - p) ** (of - k) for k in range(hits))
    assert upper_tail(hits, of, p) == pytest.approx(1 - below, rel=1e-6)


def test_a_seed_stands_for_one_stream() -> None:
    for name in ("null-outages", "null-sticky"):
        first, again, other = (list(zip(range(40), play(SCENARIOS[name], seed), strict=False)) for seed in (1, 1, 2))
        assert first == again
        assert first != other


def both(ticks: list[Tick]) -> tuple[Counts, Counts]:
    stable, candidate = Counts(), Counts()
    for tick in ticks:
        stable, candidate = stable + tick.sample.stable, candidate + tick.sample.candidate
    return stable, candidate


def test_faults_show_when_they_are_there() -> None:
    world = World("late", seconds=200, weather=steady(0.1), fault=Drift(ratio=3, slower=2, since=100), tick=1)
    ticks = list(play(world, 1))
    before, after = both(ticks[:100]), both(ticks[100:])
    assert before[1].errors / before[1].requests == pytest.approx(0.1, abs=0.05)
    assert after[1].errors / after[1].requests == pytest.approx(0.3, abs=0.07)
    assert after[0].errors / after[0].requests == pytest.approx(0.1, abs=0.02)
    assert after[1].quantile(0.5) == pytest.approx(100, rel=0.1)
    assert sum(t.harm for t in ticks[100:]) == after[1].requests


def test_outages_come_as_often_as_they_are_said_to() -> None:
    rate = outages(0.0, during=1.0, every=120, length=10)(Random(1))
    part = sum(rate(at) for at in range(100_000)) / 100_000
    assert part == pytest.approx(10 / 130, rel=0.15)


def test_coins_of_sticky_clients_fall_as_they_say() -> None:
    """Of all first answers with the probability p, the candidate's part is p, through every change of the share."""
    steps = ramp(500, 2500, 5000, seconds=120)
    world = World("ramp", rps=200, seconds=120, steps=steps, weather=steady(0.2), clients=Clients(5000, 0.1, 30))
    fallen: Counter[float] = Counter()
    thrown: Counter[float] = Counter()
    errors: Counter[float] = Counter()
    for seed in range(3):
        for tick in play(world, seed):
            for coins in tick.sample.coins:
                fallen[coins.p] += coins.candidate.requests
                thrown[coins.p] += coins.candidate.requests + coins.stable.requests
                errors[coins.p] += sum(coins.first_errors)
    # new ones at each share, and those of stable that a new share may take
    expected = {0.05, 0.25, 0.5, 0.2 / 0.95, 0.45 / 0.95, 0.25 / 0.75}
    assert {round(p, 9) for p in thrown if thrown[p]} == {round(p, 9) for p in expected}
    assert {p for p in errors if errors[p]} <= set(thrown)
    for p, number in thrown.items():
        assert fallen[p] / number == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / number))


def test_a_recording_is_played_as_it_was(tmp_path: Path) -> None:
    world = World("recorded", seconds=20, weather=steady(0.05), steps=((0.0, 500), (10.0, 5000)), clients=Clients())
    ticks = list(play(world, 1))
    recorder = Recorder(tmp_path / "1.jsonl", {"sticky": True})
    step = (0, 0)
    for tick in ticks:
        if step != (tick.sample.share, tick.following):
            step = (tick.sample.share, tick.following)
            recorder.watch(*step, at=1000 + tick.at)
        recorder.sample(tick.sample, 1000 + tick.at)
    recorder.close()
    assert recorder.broken is None

    played, sticky = playback(tmp_path / "1.jsonl")
    again = list(played)
    assert sticky
    assert [(t.sample, t.following) for t in again] == [(t.sample, t.following) for t in ticks]
    assert [t.at for t in again] == [pytest.approx(t.at - ticks[0].at) for t in ticks]
    assert [t.following for t in again][-1] == FULL


def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"at": 1, "share": 5}\n')
    with pytest.raises(Refused, match="is not a recording"):
        playback(tmp_path / "x.jsonl")
