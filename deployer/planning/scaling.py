"""How many instances a load needs, from what was seen of it and what the manifest says. Pure.

Up at once, when requests wait or when they need more than there is, with a margin for chance; down by one, when fewer
have been enough for a while (`hold`), with a larger margin: so a load around a threshold changes nothing.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deployer.model import Load

if TYPE_CHECKING:
    from deployer.manifest.scale import ScaleSettings

MEAN_SECONDS = 2.0  # over which demand is averaged
RATE_SECONDS = 1.0  # over which it is counted how many requests come and end
WAITED_SECONDS = 0.5  # after which it is no chance that requests wait
CLEAR_SECONDS = 5.0  # in which those that wait are to be answered
GAP_SECONDS = 15.0  # without a look, after which it is not known what was before
# Requests that come by chance are open in a number that differs from its mean by about its root.
MARGIN, MARGIN_DOWN = 1.5, 3.0  # roots


@dataclass(frozen=True)
class SeenLoad:
    """What was seen of the load at a moment, and the `demand`: requests that would be open if none had to wait."""

    at: float
    load: Load
    demand: float = 0.0


@dataclass(frozen=True)
class WantedSize:
    """How many instances are wanted, and why."""

    instances: int
    why: str


class LoadHistory:
    """What was seen of a load, for as long as it matters."""

    def __init__(self, settings: ScaleSettings) -> None:
        self._settings = settings
        self._recent: deque[SeenLoad] = deque()
        self._peaks: deque[tuple[float, float]] = deque()  # moments, and mean demands: each lower than the one before
        self._since = 0.0  # nothing is missing from then on

    def add(self, at: float, load: Load) -> None:
        """Take what was seen later than all before."""
        if not self._recent or at - self._recent[-1].at > GAP_SECONDS:
            self._recent.clear()
            self._peaks.clear()
            self._since = at
        self._recent.append(SeenLoad(at, load, self._demand(at, load)))
        while self._recent[0].at < at - MEAN_SECONDS:
            self._recent.popleft()
        mean = self._mean()
        while self._peaks and self._peaks[-1][1] <= mean:
            self._peaks.pop()
        self._peaks.append((at, mean))
        while self._peaks[0][0] < at - self._settings.hold:
            self._peaks.popleft()

    def follow(self, settings: ScaleSettings) -> None:
        """Go by other settings from now on."""
        self._settings = settings

    def wanted(self, size: int) -> WantedSize:
        """Return how many instances are wanted, where there are `size` of them."""
        settings = self._settings
        if (possible := settings.within(size)) != size:
            return WantedSize(possible, f"`scale` has {settings.min} to {settings.max} instances")
        if not self._recent:
            return WantedSize(size, "nothing is known of the load yet")
        return self._more(size) or self._fewer(size) or WantedSize(size, f"{counted(self._mean())} at once")

    def _more(self, size: int) -> WantedSize | None:
        mean = self._mean()
        needed, why = self._enough(mean, MARGIN), f"{counted(mean)} at once"
        if waiting := min(self._waiting()):
            demand = self._recent[-1].demand
            needed = max(needed, size + 1, math.ceil(demand / self._settings.each))
            why = f"{waiting} request{'s wait' if waiting > 1 else ' waits'} for an instance"
        needed = self._settings.within(needed)
        return WantedSize(needed, why) if needed > size else None

    def _fewer(self, size: int) -> WantedSize | None:
        last, (_, peak), hold = self._recent[-1], self._peaks[0], self._settings.hold
        if last.at - self._since < hold or last.load.waiting or size <= self._settings.within(0):
            return None
        if self._enough(peak, MARGIN_DOWN) >= size:
            return None
        return WantedSize(size - 1, f"at most {counted(peak)} at once for {hold:g} s")

    def _enough(self, demand: float, margin: float) -> int:
        return enough(demand, margin, self._settings.each)

    def _mean(self) -> float:
        return sum(look.demand for look in self._recent) / len(self._recent)

    def _waiting(self) -> Iterator[int]:
        """Return how many waited at each look of the last moment; 0 where that was not looked at yet."""
        from_then = self._recent[-1].at - WAITED_SECONDS
        if self._recent[0].at > from_then:
            yield 0
        yield from (look.load.waiting for look in self._recent if look.at >= from_then)

    def _demand(self, at: float, load: Load) -> float:
        """Return how many requests would be open if none had to wait, and those that wait were soon answered.

        So many run at once as come in the time that one takes. While requests wait, that time follows from how many run
        and how many end in a second. There is never a need of more than there are.
        """
        before = next((look for look in self._recent if look.at >= at - RATE_SECONDS), None)
        if not load.waiting or before is None or before.at >= at:
            return float(load.busy)
        seconds, came = at - before.at, load.total - before.load.total
        ended = came - (load.busy - before.load.busy)
        if came < 0 or ended <= 0:  # another worker counts now, or none has ended
            return float(load.busy)
        each = load.running * seconds / ended  # seconds that a request takes
        return min(float(load.busy), (came / seconds + load.waiting / CLEAR_SECONDS) * each)


def enough(demand: float, margin: float, concurrency: int) -> int:
    """Return how many instances are enough, also when more than the mean comes by chance."""
    return math.ceil((demand + margin * math.sqrt(demand)) / concurrency)


class IdleTime:
    """For how long nobody has come, from what was seen of the load; a request that is open is somebody."""

    def __init__(self) -> None:
        self._last: tuple[float, Load] | None = None
        self._since = 0.0

    def add(self, at: float, load: Load) -> None:
        """Take what was seen later than all before."""
        if self._last is None or at - self._last[0] > GAP_SECONDS or self._came(self._last[1], load):
            self._since = at
        self._last = at, load

    def seconds(self) -> float:
        """Return for how long nobody has come, as far as is known."""
        return self._last[0] - self._since if self._last else 0.0

    def _came(self, before: Load, load: Load) -> bool:
        # One look may see a request that counts for nothing, as a health check from outside; none is open for long.
        return load.wakers != before.wakers or bool(load.open and before.open)


def counted(number: float) -> str:
    """Write a number of requests."""
    return f"{number:.1f} requests" if number < 10 else f"{number:.0f} requests"
