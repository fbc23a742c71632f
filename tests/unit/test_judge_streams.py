"""The whole judge on fixed streams: request by request with known values, and by samples."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cache

import pytest

from deployer.judge import Comparison, Verdicts
from deployer.judge.comparison import WEIGHT_RESPONSES
from deployer.judge.waiting import FOR
from deployer.manifest.models import Judge
from deployer.model import FULL, Coins, Counts, Sample, latency_bucket
from tests.unit.judge_streams import LENGTH, LOOK_EVERY, PER_SECOND, STREAMS, Answer, before

JUDGE = Judge.model_validate({"responses": False})  # what the values are known for
WORSE, SHOWN = math.log(100), math.log(20)


@dataclass
class Course:
    """What a comparison said along a stream: the first alarm and advance, evidence at two places."""

    abort: int | None = None
    advance: int | None = None
    values: dict[int, tuple[float, ...]] = field(default_factory=dict)

    def look(self, n: int, comparison: Comparison) -> None:
        comparison.look(n / PER_SECOND)
        proofs = [proof.log_evidence for proof in comparison.proofs]
        if comparison.log_worse >= WORSE:
            self.abort = self.abort or n
        elif min(proofs) >= SHOWN:
            self.advance = self.advance or n
        if n in (1000, LENGTH):
            self.values[n] = (*(bettor.log_evidence for bettor in comparison.bettors), *proofs)


@cache
def answers(name: str) -> list[Answer]:
    return list(STREAMS[name])


def compared() -> Comparison:
    comparison = Comparison(JUDGE, sticky=False)
    comparison.teach(before())
    comparison.look(0.0)
    return comparison


@pytest.mark.parametrize("name", STREAMS)
def test_known_streams_request_by_request(name: str) -> None:
    comparison, course = compared(), Course()

    for answer in answers(name):
        if answer.begins:
            comparison.begin(answer.begins)
        comparison.observe(answer.p, candidate=answer.candidate, error=answer.error, ms=answer.ms)
        if (answer.n + 1) % LOOK_EVERY == 0:
            course.look(answer.n + 1, comparison)

    known = STREAMS[name].known
    assert (course.abort, course.advance) == (known.abort, known.advance)
    assert course.values[1000][:2] == pytest.approx(known.early, abs=2e-6)
    assert course.values[LENGTH] == pytest.approx(known.end, abs=2e-6)
    assert comparison.errors.ratio.interval() == pytest.approx(known.ratio, abs=1e-4)


class Gathered:
    """Answers between two looks, as the proxy's reader hands them on."""

    def __init__(self) -> None:
        self.sides = [[0, 0], [0, 0]]
        self.times = [[0] * 1089, [0] * 1089]

    def add(self, answer: Answer) -> None:
        self.sides[answer.candidate][0] += 1
        self.sides[answer.candidate][1] += answer.error
        if not answer.error:
            self.times[answer.candidate][latency_bucket(answer.ms)] += 1

    def sample(self, p: float) -> Sample:
        stable, candidate = (Counts(n, bad, tuple(t)) for (n, bad), t in zip(self.sides, self.times, strict=True))
        return Sample(stable, candidate, round(p * FULL), coins=(Coins(p, stable, candidate),))


def by_samples(name: str) -> tuple[Comparison, Course]:
    comparison, course, gathered = compared(), Course(), Gathered()
    for answer in answers(name):
        if answer.begins:
            comparison.begin(answer.begins)
        gathered.add(answer)
        if (answer.n + 1) % LOOK_EVERY == 0:
            comparison.add(gathered.sample(answer.p))
            course.look(answer.n + 1, comparison)
            gathered = Gathered()
    return comparison, course


@pytest.mark.parametrize("name", STREAMS)
def test_samples_say_the_same_of_errors_and_nearly_the_same_of_times(name: str) -> None:
    known = STREAMS[name].known
    comparison, course = by_samples(name)
    errors, latency, proof, median, tail = course.values[LENGTH]

    assert (errors, proof) == pytest.approx((known.end[0], known.end[2]), abs=2e-6)
    assert comparison.errors.ratio.interval() == pytest.approx(known.ratio, abs=1e-4)
    # The buckets of a sample are 1% wide, and what they leave open is held against either conclusion.
    assert latency <= known.end[1] + 0.5
    assert latency >= known.end[1] - 1 - 0.1 * abs(known.end[1])
    assert (median, tail) == pytest.approx(known.end[3:], rel=0.1, abs=0.5)
    assert (course.abort is None) == (known.abort is None)
    assert (course.advance is None) == (known.advance is None)
    if known.abort and course.abort:
        assert known.abort <= course.abort <= 1.15 * known.abort


@pytest.mark.parametrize("name", [name for name, stream in STREAMS.items() if stream.known.abort])
def test_what_lies_beyond_the_margin_is_called_worse_where_the_evidence_says_so(name: str) -> None:
    verdicts, gathered = Verdicts(JUDGE, sticky=False), Gathered()
    verdicts.observe(Sample(before(), Counts(), 0), 0.0)
    for answer in answers(name):
        if answer.begins:
            verdicts.begin(round(answer.p * FULL), answer.begins)
        gathered.add(answer)
        if (answer.n + 1) % LOOK_EVERY == 0:
            if verdicts.observe(gathered.sample(answer.p), (answer.n + 1) / PER_SECOND).kind == "worse":
                break
            gathered = Gathered()

    known = STREAMS[name].known.abort or 0
    assert known <= answer.n + 1 <= 1.02 * known


def test_answers_that_no_coin_sent_change_nothing() -> None:
    comparison = compared()

    for p in (0.0, 1.0):
        comparison.observe(p, candidate=True, error=True, ms=1.0)
        comparison.add(Sample(Counts(), Counts(50, 50), 0, coins=(Coins(p, Counts(), Counts(50, 50)),)))
        comparison.look(1.0)

    assert comparison.log_worse == pytest.approx(math.log(0.7))
    assert [proof.log_evidence for proof in comparison.proofs] == pytest.approx([0.0, 0.0, 0.0])


def test_a_step_begins_its_proofs_afresh_and_keeps_what_speaks_against() -> None:
    comparison, _ = by_samples("equal, 5% errors")
    against = [bettor.log_evidence for bettor in comparison.bettors]

    comparison.begin(2500)

    assert [bettor.log_evidence for bettor in comparison.bettors] == against
    assert [proof.log_evidence for proof in comparison.proofs] == pytest.approx([0.0, 0.0, 0.0])
    assert (comparison.proofs[0].margin.ratio, comparison.proofs[0].margin.add) == pytest.approx((3.0, 0.004))
    assert (comparison.proofs[1].margin.ratio, comparison.proofs[1].margin.add) == pytest.approx((2.0, 20.0))


def test_what_was_counted_before_a_step_is_settled_with_the_proof_of_before() -> None:
    comparison = compared()
    comparison.begin(2500)
    for _ in range(500):
        comparison.observe(0.5, candidate=False, error=True, ms=0)

    comparison.begin(FULL)
    comparison.look(1.0)

    assert comparison.proofs[0].log_evidence == pytest.approx(0.0)


def test_the_parts_of_the_purse_sum_up_to_one() -> None:
    for config in (JUDGE, Judge.model_validate({"latency": False, "responses": False})):
        for routes in ((), ("/a",), ("/a", "/b", "/c")):
            bettors = Comparison(config, sticky=True, routes=routes).bettors
            assert sum(bettor.weight for bettor in bettors) == pytest.approx(1.0)
            assert [b.name for b in bettors][-len(routes) :] == list(routes) or not routes
            others = Comparison(Judge(latency=config.latency), sticky=True, routes=routes).bettors
            rest = WEIGHT_RESPONSES * (1 - FOR)  # goes to kinds of responses, each when it is first seen
            assert sum(bettor.weight for bettor in others) == pytest.approx(1.0 - rest)


def test_memory_does_not_grow_with_coins_of_ever_new_probability() -> None:
    comparison = compared()

    for k in range(1, 500):
        p = k / 1000
        comparison.observe(p, candidate=True, error=True, ms=1.0)
        comparison.look(k / 10)

    assert len(comparison.errors.abort._tables._by_p) <= 64
