"""A model of a service under load, request by request, whose size a policy follows; and the oracle beside it.

Requests come by chance at a rate that changes, each takes a time of its own, and an instance answers so many at once.
A start takes START_SECONDS, and nothing else is decided meanwhile, as in a real change of size.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from deployer.manifest.scale import ScaleSettings
from deployer.model import Load
from deployer.planning.scaling import LoadHistory

CONCURRENCY = 12
TAKES = 0.5  # seconds, on average
START_SECONDS, STOP_SECONDS, LOOK_SECONDS = 2.5, 1.0, 0.25
Rate = Callable[[float], float]


@dataclass
class Outcome:
    """What came of it: requests, those that waited, changes of size, instance-seconds, and those of the oracle.

    `reaction` is the longest time from the first request that waited to the decision, where one could be made.
    """

    requests: int = 0
    waited: int = 0
    changes: int = 0
    used: float = 0.0
    oracle: float = 0.0
    reaction: float = 0.0

    def text(self) -> str:
        """Say it in a line."""
        part = self.waited / max(1, self.requests)
        size = f"{self.changes} changes, {self.used / self.oracle:.2f} x the oracle's hours"
        return f"{self.requests} requests, {part:.2%} waited, {size}, slowest reaction {self.reaction:.2f} s"


class Model:
    """One run of the model."""

    def __init__(self, rate: Rate, most: float, seconds: float, settings: ScaleSettings, seed: int) -> None:
        self._rate, self._most, self._seconds, self._settings = rate, most, seconds, settings
        self._chance = random.Random(seed)
        self._busy: list[float] = []
        self._line: deque[float] = deque()  # how long each of those takes that wait
        self._free: list[float] = []  # when each request would end if none had to wait
        self._highest = 0
        self._slots = CONCURRENCY * settings.min
        self.outcome = Outcome()

    def run(self) -> Outcome:
        """Return what came of it."""
        history, size, settled = LoadHistory(self._settings), self._settings.min, 0.0
        peaks: list[int] = []
        comes, since, now = self._chance.expovariate(self._most), math.inf, 0.0
        while now < self._seconds:
            while comes <= now:
                self._until(comes)
                if self._chance.random() < self._rate(comes) / self._most:
                    self._arrive(comes)
                comes += self._chance.expovariate(self._most)
            self._until(now)
            if now >= settled:
                self._slots = size * CONCURRENCY
                self._until(now)
            peaks.append(self._peak(now))
            running, waiting = len(self._busy), len(self._line)
            history.add(now, Load(running + waiting, running, waiting, self.outcome.requests))
            since = min(since, max(now, settled)) if self._line else math.inf
            wanted = history.wanted(size).instances if now >= settled else size
            if wanted != size:
                self.outcome.changes += 1
                if wanted > size and since < math.inf:
                    self.outcome.reaction = max(self.outcome.reaction, now - since)
                settled = now + (START_SECONDS if wanted > size else STOP_SECONDS)
                size, since = wanted, math.inf
                self._slots = min(self._slots, size * CONCURRENCY)
            self.outcome.used += size * LOOK_SECONDS
            now += LOOK_SECONDS
        ahead = round(START_SECONDS / LOOK_SECONDS) + 1
        needed = (math.ceil(max(peaks[at : at + ahead]) / CONCURRENCY) for at in range(len(peaks)))
        self.outcome.oracle = sum(self._settings.within(each) for each in needed) * LOOK_SECONDS
        return self.outcome

    def _until(self, now: float) -> None:
        """Let requests end, and those that wait take their places."""
        while self._busy and self._busy[0] <= now:
            ended = heapq.heappop(self._busy)
            if self._line and len(self._busy) < self._slots:
                heapq.heappush(self._busy, ended + self._line.popleft())
        while self._line and len(self._busy) < self._slots:
            heapq.heappush(self._busy, now + self._line.popleft())

    def _arrive(self, now: float) -> None:
        takes = self._chance.expovariate(1 / TAKES)
        self.outcome.requests += 1
        while self._free and self._free[0] <= now:
            heapq.heappop(self._free)
        heapq.heappush(self._free, now + takes)
        self._highest = max(self._highest, len(self._free))
        if len(self._busy) < self._slots:
            heapq.heappush(self._busy, now + takes)
        else:
            self.outcome.waited += 1
            self._line.append(takes)

    def _peak(self, now: float) -> int:
        """Return how many instances' worth of requests were open at once since the last call."""
        while self._free and self._free[0] <= now:
            heapq.heappop(self._free)
        highest, self._highest = max(self._highest, len(self._free)), len(self._free)
        return highest
