"""What a policy of scaling would have done with recorded traffic, in virtual time, beside an oracle and a fixed size.

The policy is the one that the keeper follows (`planning.scaling`), which sees a simulated service: requests come when
they came, take as long as they took, and run on instances that have a place for so many of them.
"""

from __future__ import annotations

import heapq
import math
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from deployer.model import Load
from deployer.planning.prediction import UsualLoad, predicted
from deployer.planning.scaling import IdleTime, LoadHistory

if TYPE_CHECKING:
    from deployer.manifest.scale import ScaleSettings

LOOK_SECONDS = 0.25  # between two looks of the keeper
STOP_SECONDS = 1.0  # until an instance that is not needed any more has gone

Usual = Callable[[float], UsualLoad | None]
Came = tuple[float, float]  # when a request came, and how many seconds it takes on an instance


@dataclass(frozen=True)
class ScalingOutcome:
    """What came of a policy: requests, what they waited, and what it took.

    `refused` of those that `waited` got a 503 after `scale.wait`; `longest` is how long one waited at most, in seconds.
    `least` and `most` are the numbers of instances that there were; a service that was asleep had none.
    """

    requests: int = 0
    waited: int = 0
    refused: int = 0
    longest: float = 0.0
    changes: int = 0
    least: int = 0
    most: int = 0
    instance_seconds: float = 0.0
    asleep_seconds: float = 0.0
    reaction: float = 0.0  # the longest time from the first request that waited to the decision


class RequestsAtOnce:
    """How many requests are open at once if none has to wait: the highest number of each look, from a moment on."""

    def __init__(self, began: float) -> None:
        self.highest = array("L")
        self._end = began + LOOK_SECONDS
        self._peak = 0
        self._open: list[float] = []  # when each of them ends

    def add(self, at: float, takes: float) -> None:
        """Take a request that came later than all before."""
        self._until(at)
        self._leave(at)
        heapq.heappush(self._open, at + takes)
        self._peak = max(self._peak, len(self._open))

    def finish(self, at: float) -> None:
        """Let time pass until the end, which may be within a look."""
        self._until(at)
        self.highest.append(self._peak)

    def _until(self, at: float) -> None:
        while at >= self._end:
            self._leave(self._end)
            self.highest.append(self._peak)
            self._peak = len(self._open)
            self._end += LOOK_SECONDS

    def _leave(self, at: float) -> None:
        while self._open and self._open[0] <= at:
            heapq.heappop(self._open)


def oracle(highest: Sequence[int], settings: ScaleSettings, start: float) -> ScalingOutcome:
    """Return what the fewest instances take that never let a request wait, if it is known what comes.

    An instance is started so many seconds before it is needed, and removed at once. `max` does not bind it.
    """
    sizes = oracle_sizes(highest, settings, start)
    changes = sum(one != other for one, other in pairwise(sizes))
    return ScalingOutcome(
        changes=changes,
        least=min(sizes, default=0),
        most=max(sizes, default=0),
        instance_seconds=sum(sizes) * LOOK_SECONDS,
        asleep_seconds=sizes.count(0) * LOOK_SECONDS,
    )


def oracle_sizes(highest: Sequence[int], settings: ScaleSettings, start: float) -> list[int]:
    """Return how many instances are needed at each look, as each has to be there for what comes while one starts."""
    ahead = round(start / LOOK_SECONDS)
    falling: deque[int] = deque()  # places of numbers, each lower than the one before
    sizes = []
    for place in range(len(highest) + ahead):
        if place < len(highest):
            while falling and highest[falling[-1]] <= highest[place]:
                falling.pop()
            falling.append(place)
        if (begins := place - ahead) >= 0:
            while falling[0] < begins:
                falling.popleft()
            sizes.append(max(settings.min, math.ceil(highest[falling[0]] / settings.each)))
    return sizes


class SimulatedService:
    """A service whose size follows a policy, or is `fixed`; requests are put in one by one, in the order they came.

    `usual` says what load is usual at a moment, where former weeks are known.
    """

    def __init__(
        self,
        settings: ScaleSettings,
        start: float,
        began: float,
        size: int,
        *,
        fixed: bool = False,
        usual: Usual = lambda _at: None,
    ) -> None:
        self._settings, self._start, self._fixed, self._usual = settings, start, fixed, usual
        self._history, self._idle = LoadHistory(settings), IdleTime()
        self._size = self._least = self._most = size
        self._places = size * settings.each
        self._ready = self._look_at = began  # when the last change of size is over, and when the next look is due
        self._removing = 0
        self._busy: list[float] = []  # when each of those that run ends
        self._line: deque[Came] = deque()
        self._since = math.inf  # the first request that waits where a decision could be made
        self._requests = self._waited = self._refused = self._changes = 0
        self._longest = self._used = self._asleep = self._reaction = 0.0

    def add(self, at: float, takes: float) -> None:
        """Take a request that came later than all before."""
        self._looks(at)
        self._until(at)
        self._requests += 1
        if len(self._busy) < self._places:
            heapq.heappush(self._busy, at + takes)
            return
        self._waited += 1
        self._line.append((at, takes))
        if self._size == 0:
            self._resize(1, at)

    def finish(self, at: float) -> ScalingOutcome:
        """Let time pass until the end, and return what came of it."""
        self._looks(at)
        self._until(at)
        if self._line:
            self._note_wait(at - self._line[0][0])
        return ScalingOutcome(
            self._requests,
            self._waited,
            self._refused,
            self._longest,
            self._changes,
            self._least,
            self._most,
            self._used,
            self._asleep,
            self._reaction,
        )

    def _looks(self, at: float) -> None:
        while self._look_at <= at:
            self._look(self._look_at)
            self._look_at += LOOK_SECONDS

    def _look(self, now: float) -> None:
        """Look as the keeper does, four times a second; nothing is decided while a change of size is in progress."""
        self._until(now)
        settled = now >= self._ready
        if settled:
            self._removing = 0
        if not self._fixed and self._size and self._places:  # what sleeps, or wakes, is not looked at
            running, waiting = len(self._busy), len(self._line)
            load = Load(running + waiting, running, waiting, self._requests, self._requests)
            self._history.add(now, load)
            self._idle.add(now, load)
            self._since = min(self._since, max(now, self._ready)) if waiting else math.inf
            if settled:
                self._decide(now)
        self._used += (self._size + self._removing) * LOOK_SECONDS
        self._asleep += LOOK_SECONDS * (self._size == 0)

    def _decide(self, now: float) -> None:
        settings, size = self._settings, self._size
        wanted, lonely = self._history.wanted(size), settings.sleeps and self._idle.seconds() >= settings.idle
        if not lonely:
            wanted = predicted(wanted, self._usual(now), settings)
        if wanted.instances != size:
            self._resize(wanted.instances, now)
        elif lonely and size == 1:
            self._resize(0, now)

    def _resize(self, size: int, now: float) -> None:
        if size > self._size and self._since < math.inf:
            self._reaction = max(self._reaction, now - self._since)
        self._removing = max(0, self._size - size)
        self._changes += 1
        self._ready = now + (self._start if size > self._size else STOP_SECONDS)
        self._size, self._since = size, math.inf
        self._least, self._most = min(self._least, size), max(self._most, size)
        self._places = min(self._places, size * self._settings.each)

    def _until(self, now: float) -> None:
        """Let requests end and those that wait take their places, up to a moment."""
        if self._ready <= now and self._places != self._size * self._settings.each:
            self._flow(self._ready)
            self._places = self._size * self._settings.each
            self._fill(self._ready)
        self._flow(now)
        while self._line and now - self._line[0][0] > self._settings.wait:
            self._line.popleft()
            self._refused += 1
            self._note_wait(self._settings.wait)

    def _flow(self, now: float) -> None:
        while self._busy and self._busy[0] <= now:
            self._fill(heapq.heappop(self._busy))

    def _fill(self, now: float) -> None:
        """Let those that wait take the places that are free, the first ones first."""
        while self._line and len(self._busy) < self._places:
            came, takes = self._line.popleft()
            waited = now - came
            if waited > self._settings.wait:
                self._refused += 1
                self._note_wait(self._settings.wait)
                continue
            self._note_wait(waited)
            heapq.heappush(self._busy, now + takes)

    def _note_wait(self, seconds: float) -> None:
        self._longest = max(self._longest, min(seconds, self._settings.wait))


def run(requests: Iterable[Came], services: Sequence[SimulatedService], ended: float) -> Iterator[ScalingOutcome]:
    """Send the same requests to several simulated services, and yield what came of each."""
    for at, takes in requests:
        for service in services:
            service.add(at, takes)
    yield from (service.finish(ended) for service in services)
