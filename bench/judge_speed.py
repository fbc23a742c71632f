"""How fast the judge takes answers: python -m bench.judge_speed

Per answer, as a replay feeds it, and per look at a sample, as a rollout does; beside them, as the floor, a loop that
only counts the same answers by side and outcome. Time of this process is measured, not of the machine.
"""

from __future__ import annotations

import random
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from deployer.judge import Comparison, Verdicts
from deployer.manifest.models import Judge
from deployer.model import Coins, Counts, Sample, latency_bucket

ANSWERS, LOOK_EVERY, ROUNDS, P = 200_000, 25, 5, 0.1
BUDGET = 200_000  # answers a second, on one core


class Answer(NamedTuple):
    candidate: bool
    error: bool
    ms: float


def drawn(count: int) -> list[Answer]:
    """Draw answers of two sides that are equal."""
    random_ = random.Random(1)
    return [
        Answer(random_.random() < P, random_.random() < 0.01, 50 * random_.lognormvariate(0, 0.5)) for _ in range(count)
    ]


def counting(answers: Sequence[Answer]) -> None:
    """Count answers and nothing else."""
    counts = [0, 0, 0, 0]
    total = 0.0
    for candidate, error, ms in answers:
        counts[2 * candidate + error] += 1
        total += ms


def judging(answers: Sequence[Answer]) -> None:
    """Judge answer by answer, with a look after every 25."""
    comparison = Comparison(Judge(), sticky=False)
    for n, (candidate, error, ms) in enumerate(answers, 1):
        comparison.observe(P, candidate=candidate, error=error, ms=ms)
        if n % LOOK_EVERY == 0:
            comparison.look(n / 100)


def samples(answers: Sequence[Answer]) -> list[Sample]:
    """Gather answers as the proxy's reader does, 25 at a time."""
    found = []
    for start in range(0, len(answers), LOOK_EVERY):
        sides, times = [[0, 0], [0, 0]], [[0] * 1089, [0] * 1089]
        for candidate, error, ms in answers[start : start + LOOK_EVERY]:
            sides[candidate][0] += 1
            sides[candidate][1] += error
            if not error:
                times[candidate][latency_bucket(ms)] += 1
        ours, theirs = (Counts(side[0], side[1], tuple(t)) for side, t in zip(sides, times, strict=True))
        found.append(Sample(ours, theirs, round(P * 10_000), coins=(Coins(P, ours, theirs),)))
    return found


def looking(taken: Sequence[Sample]) -> None:
    """Reach a verdict after every sample."""
    verdicts = Verdicts(Judge(), sticky=False)
    for n, sample in enumerate(taken):
        verdicts.observe(sample, n / 4)


def best(work: Callable[[Any], None], on: Sequence[Any]) -> float:
    """Return the shortest time of some rounds, in seconds of this process."""
    times = []
    for _ in range(ROUNDS):
        start = time.process_time()
        work(on)
        times.append(time.process_time() - start)
    return min(times)


def growth(answers: Sequence[Answer]) -> int:
    """Return the bytes that the judge holds more after all answers than after a tenth of them."""
    tracemalloc.start()
    comparison = Comparison(Judge(), sticky=False)
    held = []
    for n, (candidate, error, ms) in enumerate(answers, 1):
        comparison.observe(P, candidate=candidate, error=error, ms=ms)
        if n % LOOK_EVERY == 0:
            comparison.look(n / 100)
        if n in (len(answers) // 10, len(answers)):
            held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    return held[1] - held[0]


def main() -> int:
    """Measure and print; 1 when the judge is slower than its budget."""
    answers = drawn(ANSWERS)
    taken = samples(answers[:50_000])
    floor, judged, looked = best(counting, answers), best(judging, answers), best(looking, taken)
    print(f"counting only      {ANSWERS / floor:>12,.0f} answers/s")
    print(f"judge, per answer  {ANSWERS / judged:>12,.0f} answers/s  ({judged / floor:.1f} times the floor)")
    print(f"judge, per look    {len(taken) / looked:>12,.0f} looks/s    ({1e6 * looked / len(taken):.0f} µs a verdict)")
    print(f"memory held        {growth(answers):>12,} bytes more after {ANSWERS:,} answers than after a tenth of them")
    return 0 if ANSWERS / judged >= BUDGET else 1


if __name__ == "__main__":
    sys.exit(main())
