"""Recordings with the traffic that a test wants, as `deploy record` writes them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path

from deployer.evidence.recording import Recorder
from deployer.model import FULL, Counts, Sample, latency_bucket

STARTED = 1_790_000_000.0
LOOK = 0.25


def counts(times: list[float], errors: int = 0) -> Counts:
    """Count good responses by their milliseconds, and failed ones."""
    buckets = [latency_bucket(ms) for ms in times]
    return Counts(len(times) + errors, errors, tuple(map(buckets.count, range(max(buckets, default=-1) + 1))))


def header(service: str = "shop", at: float = 0.0) -> dict[str, object]:
    """Return the header of a drive that begins so many seconds in."""
    return {"service": service, "started_at": STARTED + at, "monotonic": at}


def write(path: Path, rate: Callable[[float], float], seconds: float, ms: float, seed: int = 1) -> Path:
    """Record requests that come by chance at a rate, and each take so many milliseconds on average."""
    chance, recorder = random.Random(seed), Recorder(path, header())
    recorder.watch(0, FULL, 0.0)
    ends = sorted(_ends(chance, rate, seconds, ms / 1000))
    at, place = 0.0, 0
    while at < seconds:
        at += LOOK
        times = []
        while place < len(ends) and ends[place][0] <= at:
            times.append(ends[place][1] * 1000)
            place += 1
        recorder.sample(Sample(counts(times), Counts(), 0), at)
    recorder.close()
    return path


def _ends(
    chance: random.Random, rate: Callable[[float], float], seconds: float, takes: float
) -> list[tuple[float, float]]:
    found, at = [], 0.0
    while at < seconds:
        if per_second := rate(at):
            at += chance.expovariate(per_second)
            each = chance.expovariate(1 / takes)
            found.append((at + each, each))
        else:
            at += 1.0
    return found


def swell(at: float) -> float:
    """Return the rate of twenty minutes: from 0.8 to 15 requests a second, and back."""
    return 8 - 7.2 * math.cos(at / 1200 * 2 * math.pi)
