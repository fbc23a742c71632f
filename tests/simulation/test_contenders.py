"""The judges that ours is compared with do what their documents say, and the command shows it."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from bench import judges
from bench.contenders.contender import Contender
from bench.contenders.ranks import Ranks, larger, mann_whitney, shift
from bench.contenders.thresholds import ARGO, FLAGGER, FLAGGER_QUICK, Rules, Thresholds
from bench.match import FIELD, Field, compete
from bench.scenarios import SCENARIOS, play
from bench.traffic.draws import Latencies
from bench.traffic.world import Tick
from deployer.evidence.recording import Recorder
from deployer.model import FULL, Counts, Sample, latency_bucket

# -- fixed numbers for each interval


def first_abort(judge: Contender, errors: float = 0.0, ms: float = 50.0, rps: int = 100, minutes: int = 40) -> float:
    """Return the second at which a judge gives up a candidate that always answers alike; 0 for never."""
    bucket = latency_bucket(ms)
    for second in range(1, 60 * minutes + 1):
        failed = round(errors * rps)
        times = (0,) * bucket + (rps - failed,)
        if judge.observe(Tick(second, Sample(Counts(), Counts(rps, failed, times), 1000), FULL, failed)):
            return second
    return 0


@pytest.mark.parametrize(
    ("rules", "errors", "ms", "rps", "second"),
    [
        (FLAGGER, 0.02, 50, 100, 360),  # five failed checks, then the sixth look sees that they are too many
        (FLAGGER, 0.01, 50, 100, 0),  # 99% is enough
        (FLAGGER, 0.0, 600, 100, 360),
        (FLAGGER, 0.0, 490, 100, 0),
        (FLAGGER, 0.0, 50, 0, 360),  # no value is a failed check
        (FLAGGER_QUICK, 1.0, 50, 100, 60),
        (ARGO, 0.06, 50, 100, 1200),  # the fourth failure is more than three
        (ARGO, 0.05, 50, 100, 0),
        (ARGO, 1.0, 50, 0, 0),  # no value is neither
        (ARGO, 0.0, 60_000, 100, 0),
    ],
)
def test_thresholds(rules: Rules, errors: float, ms: float, rps: int, second: int) -> None:
    assert first_abort(Thresholds(rules), errors, ms, rps) == second


def test_a_passed_interval_takes_no_failed_one_back() -> None:
    judge, aborted = Thresholds(FLAGGER), 0
    for minute in range(1, 30):
        failed = 50 if minute % 2 else 0
        if judge.observe(Tick(60.0 * minute, Sample(Counts(), Counts(100, failed), 1000), FULL, failed)):
            aborted = minute
            break
    assert aborted == 10  # failed in minutes 1, 3, 5, 7 and 9


# -- ranks


@pytest.mark.parametrize(
    ("first", "second", "u", "p"),
    [  # as scipy 1.17.1 has them: stats.mannwhitneyu(first, second, method="asymptotic")
        ([19, 22, 16, 29, 24], [20, 11, 17, 12], 17.0, 0.11134688653314041),
        (
            [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46],
            [1.15, 0.88, 0.90, 0.74, 1.21],
            35.0,
            0.24462360512698333,
        ),
        ([0, 0, 0, 1, 1, 2, 5, 5, 5, 7], [0, 0, 1, 1, 1, 1, 2, 3], 49.5, 0.40900773308666605),
        ([0.0] * 20 + [0.01] * 5, [0.0] * 24 + [0.01], 362.5, 0.08799913093602314),
        ([1, 1], [1, 1, 1], 3.0, 1.0),
    ],
)
def test_mann_whitney(first: list[float], second: list[float], u: float, p: float) -> None:
    result = mann_whitney(first, second)
    assert result.u == u
    assert result.p == pytest.approx(p, rel=1e-12)


def test_the_interval_is_what_the_test_does_not_reject() -> None:
    dice = Random(1)
    first, second = [dice.gauss(1, 1) for _ in range(40)], [dice.gauss(0, 1) for _ in range(30)]
    lowest, estimate, highest = shift(first, second, 0.98)
    assert lowest < estimate < highest
    # Hollander and Wolfe 1973, page 69: 0.305
    assert shift([0.8, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46], [1.15, 0.88, 0.9, 0.74, 1.21], 0.95)[
        1
    ] == pytest.approx(0.305)

    def p(moved: float) -> float:
        return mann_whitney([x - moved for x in first], second).p

    assert p(lowest - 0.01) < 0.02 < p(lowest + 0.02)
    assert p(highest + 0.01) < 0.02 < p(highest - 0.02)


def test_ranks_find_what_is_far_off_and_leave_the_rest() -> None:
    dice = Random(1)
    usual = [dice.gauss(100, 5) for _ in range(60)]
    assert larger([dice.gauss(120, 5) for _ in range(60)], usual)
    assert not larger([dice.gauss(80, 5) for _ in range(60)], usual)
    assert not larger([dice.gauss(100, 5) for _ in range(60)], usual)
    assert not larger([], usual)


def test_ranks_judge_at_the_end_of_a_window() -> None:
    judge, dice = Ranks(), Random(1)
    usual, slow = Latencies.lognormal(50, 0.5), Latencies.lognormal(75, 0.5)
    for second in range(1, 1200):
        stable, candidate = (Counts(50, 0, times.draw(dice, 50)[0]) for times in (usual, slow))
        if judge.observe(Tick(second, Sample(stable, candidate, 5000), FULL, 0)):
            break
    assert second == 600


# -- all on one stream


class Never:
    """A judge that is never worried."""

    def observe(self, tick: Tick) -> bool:
        return False


class Soon:
    """A judge that gives up at a moment."""

    def __init__(self, at: float) -> None:
        self._at = at

    def observe(self, tick: Tick) -> bool:
        return tick.at >= self._at


def test_outcomes_are_counted_from_the_fault_on() -> None:
    ticks = [Tick(float(s), Sample(Counts(90), Counts(10, 1), 1000), FULL, 1) for s in range(1, 101)]
    field: Field = {"never": lambda _: Never(), "early": lambda _: Soon(5), "soon": lambda _: Soon(30)}
    never, early, soon = compete(ticks, sticky=False, since=20, field=field)
    assert (never.aborted, never.requests, never.seconds, never.harm) == (False, 8000, 80, 100)
    assert (early.aborted, early.early, early.requests, early.harm) == (True, True, 0, 5)
    assert (soon.aborted, soon.early, soon.requests, soon.seconds, soon.harm) == (True, False, 1000, 10, 30)


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--rollouts", "3", "--only", "broken", "quiet-broken"]
    assert judges.main([*arguments, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["scenario"], row["judge"]) for row in rows] == [
        (name, judge) for name in ("broken", "quiet-broken") for judge in FIELD
    ]
    ours, flagger, quick, argo, ranks = (row["harm"] for row in rows[:5])
    assert ours < quick < flagger < ranks < argo  # a dead candidate at 10%
    assert judges.main([*arguments, "--markdown", "--workers", "1"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert len(table) == 2 + 2  # a head, and a line for each scenario
    assert {line.count("|") for line in table} == {2 + len(FIELD)}


def test_the_command_with_a_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorder = Recorder(tmp_path / "7.jsonl", {"sticky": False})
    recorder.watch(1000, FULL, at=0.0)
    for tick in play(SCENARIOS["broken"], 1):
        if tick.at > 90:
            break
        recorder.sample(tick.sample, tick.at)
    recorder.close()
    assert judges.main(["--recording", str(tmp_path / "7.jsonl"), "--json"]) == 0
    rows = {row["judge"]: row for row in json.loads(capsys.readouterr().out)}
    assert [rows[judge]["aborted"] for judge in FIELD] == [1, 0, 1, 0, 0]
    assert judges.main(["--recording", str(tmp_path / "none.jsonl")]) == 2
    assert "none.jsonl" in capsys.readouterr().err
