"""How often the judge is wrong and how soon it is right: python -m bench.judge_rates [ROLLOUTS]

Rollouts of a simulated service at 100 requests a second. Equal releases: the part that is called worse in ten minutes,
with a look each second. Bad releases: requests, and requests of the candidate, until they are called worse, with a look
after each request. Good releases: requests until a last step at 50 % is passed.
"""

from __future__ import annotations

import math
import random
import statistics
import sys
from bisect import bisect
from collections.abc import Callable
from functools import cache

from deployer.judge import Comparison
from deployer.manifest.models import Judge
from deployer.model import FULL, Coins, Counts, Sample

PER_SECOND, SECONDS = 100, 600
CONFIG = Judge.model_validate({"latency": False})
WORSE, SHOWN = math.log(1 / CONFIG.alpha), math.log(1 / CONFIG.beta)
Rate = Callable[[int], float]


@cache
def cumulative(n: int, p: float) -> tuple[float, ...]:
    """Return the distribution function of the number of heads in n throws."""
    total, steps = 0.0, []
    for k in range(n + 1):
        total += math.comb(n, k) * p**k * (1 - p) ** (n - k)
        steps.append(total)
    return tuple(steps)


def heads(random_: random.Random, n: int, p: float) -> int:
    """Throw n coins."""
    return min(n, bisect(cumulative(n, p), random_.random()))


def second(random_: random.Random, p: float, stable: float, candidate: float, requests: int = PER_SECOND) -> Sample:
    """Draw the requests of one look."""
    c = heads(random_, requests, p)
    sides = Counts(requests - c, heads(random_, requests - c, stable)), Counts(c, heads(random_, c, candidate))
    return Sample(*sides, round(p * FULL), coins=(Coins(p, *sides),))


def primed(rate: float) -> Comparison:
    """Return a judge that has seen stable for a minute."""
    comparison = Comparison(CONFIG, sticky=False)
    comparison.teach(Counts(6000, round(6000 * rate)))
    comparison.look(0.0)
    return comparison


def false_alarms(rollouts: int, p: float, rate: Rate) -> float:
    """Return the part of equal releases that is called worse."""
    random_, alarms = random.Random(1), 0
    for _ in range(rollouts):
        comparison = primed(rate(0))
        for at in range(1, SECONDS + 1):
            comparison.add(second(random_, p, rate(at), rate(at)))
            comparison.look(at)
            if comparison.log_worse >= WORSE:
                alarms += 1
                break
    return alarms / rollouts


def until_worse(rollouts: int, p: float, stable: float, candidate: float) -> str:
    """Return the median and the 95th percentile of requests until it is called worse, and the candidate's mean."""
    random_, needed, served = random.Random(2), [], []
    for _ in range(rollouts):
        comparison, mine, n = primed(stable), 0, 0
        while comparison.log_worse < WORSE:
            n += 1
            side = random_.random() < p
            mine += side
            comparison.observe(p, candidate=side, error=random_.random() < (candidate if side else stable), ms=0)
            comparison.look(n / PER_SECOND)
        needed.append(n)
        served.append(mine)
    return f"{spread(needed)}, {statistics.mean(served):,.0f} by the candidate"


def until_shown(rollouts: int, rate: float) -> str:
    """Return the requests until an equal candidate at 50 % is shown to be fit for everybody."""
    random_, needed = random.Random(3), []
    for _ in range(rollouts):
        comparison, n = primed(rate), 0
        while comparison.proofs[0].log_evidence < SHOWN:
            n += 1
            comparison.add(second(random_, 0.5, rate, rate))
            comparison.look(n)
        needed.append(n * PER_SECOND)
    return spread(needed)


def spread(numbers: list[int]) -> str:
    return f"{statistics.median(numbers):,.0f} requests (95 %: {sorted(numbers)[int(0.95 * len(numbers))]:,})"


def steady(rate: float) -> Rate:
    return lambda _: rate


def bursts(at: int) -> float:
    """Fail three in ten on both sides for ten seconds of every two minutes."""
    return 0.3 if at % 120 < 10 else 0.001


def main(rollouts: int) -> None:
    """Print all."""
    print(f"equal, called worse in ten minutes, {rollouts:,} rollouts each (bound: {CONFIG.alpha:.1%})")
    equal: list[tuple[str, float, Rate]] = [
        ("0.1 % errors, share 5 %", 0.05, steady(0.001)),
        ("1 % errors, share 5 %", 0.05, steady(0.01)),
        ("1 % errors, share 50 %", 0.5, steady(0.01)),
        ("bursts of 30 % on both sides, share 5 %", 0.05, bursts),
    ]
    for name, p, rate in equal:
        print(f"  {name:<42}{false_alarms(rollouts, p, rate):>8.2%}", flush=True)
    few = max(20, rollouts // 10)
    print(f"worse, until it is said, {few:,} rollouts each")
    for p in (0.05, 0.5):
        for stable, candidate in ((0.001, 1.0), (0.001, 0.051), (0.01, 0.05)):
            name = f"{stable:.1%} against {candidate:.1%}, share {p:.0%}"
            print(f"  {name:<42}{until_worse(few, p, stable, candidate)}", flush=True)
    print(f"equal, until it is shown at 50 %, {few:,} rollouts each")
    for errors in (0.001, 0.01, 0.05):
        print(f"  {f'{errors:.1%} errors':<42}{until_shown(few, errors)}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
