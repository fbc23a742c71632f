"""How many requests at once an instance answers well, learned from what the proxy sees of each instance. Pure.

By Little's law (1961) as many requests are on an instance, on average, as end in a second times the seconds that one
takes. So a request takes as many seconds as the mean number there divided by those that end in a second. Up to the knee
that time stays and the rate grows; beyond it the rate stays and the times grow (Denning and Buzen 1978; Lazowska,
Zahorjan, Graham and Sevcik 1984, chapter 5): what is sent there only waits inside. How many of them are answered at
once, and do not wait, is `rate when full × time when light`. As in TCP Vegas (Brakmo and Peterson 1995) the number is
kept between two bounds of what waits: raised while less than a tenth does, lowered while more than a fifth does.

Unlike Vegas, which remembers the best time of all, both times are of the same minutes: where what an instance calls is
slow, a request is slow on all instances, on a full one and on a light one, and nothing follows from that.

Each worker of each of several proxies gives an instance as many as the number says. So what waits inside is looked for
in what all of them give it, and whether the number holds back in what that one gives which gives most.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deployer.model import InstanceLoad

MOST = 10_000  # requests at once, as in the manifest
MUCH, LIGHT = 0.75, 0.5  # of the number: that are on an instance that has much to do, and at most on a light one
FULL, SPARE = 0.9, 1.0  # of the number, or so many fewer, on one that is full: a free place waits for the next request
WINDOW_SECONDS, LONGEST_WINDOW = 5.0, 60.0  # over which an instance is looked at: requests that take longer say nothing
GAP_SECONDS = 2.0  # without a look, after which it is not known what was between
WARM_SECONDS = 30.0  # in which an instance is new, and slow by that
ENOUGH, ENOUGH_SECONDS = 200, 10.0  # ended requests, and seconds, for a time of both sides
FRESH_SECONDS = 600.0  # for which a time when light can lower the number; it can raise it until there is another
WAITS_LITTLE, WAITS_MUCH = 1 / 10, 1 / 5  # parts of the requests on a full instance
IN_A_ROW = 5  # comparisons that say the same, before the number is another one
UP, DOWN = 1 / 10, 1 / 4  # by which it changes at most
FAILED = 0.01  # a part of the requests beyond which it is a time with errors
FIRST_PAUSE, LONGEST_PAUSE = 3600.0, 86_400.0  # until a number is tried again that was too high


@dataclass(frozen=True)
class LearnedConcurrency:
    """How many requests at once an instance answers well, and why."""

    requests: int
    why: str


@dataclass
class _Sum:
    """Request-seconds, requests that ended and that failed, within so many seconds; `most`: those of one worker."""

    began: float
    seconds: float = 0.0
    busy: float = 0.0
    most: float = 0.0
    ended: int = 0
    failed: int = 0

    def add(self, more: _Sum) -> None:
        self.seconds += more.seconds
        self.busy += more.busy
        self.most += more.most
        self.ended += more.ended
        self.failed += more.failed

    @property
    def mean(self) -> float:
        """Requests at once."""
        return self.busy / self.seconds

    @property
    def highest(self) -> float:
        """Requests at once of one worker: of that which gave most at each moment."""
        return self.most / self.seconds

    @property
    def takes(self) -> float:
        """Seconds that a request takes, by Little's law."""
        return self.busy / self.ended


@dataclass
class _Light:
    """How long a request takes on an instance that is light, and when that was seen; `used`: it lowered once."""

    takes: float
    at: float
    used: bool = False


class InstanceWindows:
    """What happened on each instance, in windows of some seconds."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, float, InstanceLoad]] = {}  # first seen, seen last, and what
        self._open: dict[str, _Sum] = {}

    def forget(self) -> None:
        """Begin anew: it is not known what was between."""
        self._open.clear()
        self._seen = {name: (first, 0.0, load) for name, (first, _, load) in self._seen.items()}

    def add(self, at: float, instances: Mapping[str, InstanceLoad]) -> dict[str, _Sum]:
        """Take a look at all instances; return the windows that end with it, by instance."""
        self._open = {name: window for name, window in self._open.items() if name in instances}
        done = {name: window for name, load in instances.items() if (window := self._window(at, name, load))}
        self._seen = {name: (self._seen.get(name, (at,))[0], at, load) for name, load in instances.items()}
        return done

    def _window(self, at: float, name: str, load: InstanceLoad) -> _Sum | None:
        """Return the window of an instance if it ends with this look."""
        first, last, before = self._seen.get(name, (at, 0.0, load))
        seconds, came = at - last, load.total - before.total
        ended = came - (load.running - before.running)
        counted = len(load.each) == len(before.each) and min(came, ended, load.failed - before.failed) >= 0
        if not 0 < seconds <= GAP_SECONDS or not counted:
            self._open.pop(name, None)  # another worker counts, or another proxy, or nobody looked
            return None
        if at - first < WARM_SECONDS:
            return None
        window = self._open.setdefault(name, _Sum(last))
        busy = (before.running + load.running) / 2 * seconds
        most = (max(before.each) + max(load.each)) / 2 * seconds
        window.add(_Sum(last, seconds, busy, most, ended, load.failed - before.failed))
        if window.seconds < WINDOW_SECONDS:
            return None
        # Until as many have ended as there are at once: what ended then is about what began then.
        whole = bool(window.ended) and window.ended >= window.mean
        if whole or not window.busy or window.seconds >= LONGEST_WINDOW:
            del self._open[name]
        return window if whole else None


class ConcurrencyLearner:
    """Learns the number for the instances of one release; `requests` is the one that the proxy has."""

    def __init__(self, requests: int) -> None:
        self.requests = requests
        self._windows = InstanceWindows()
        self._light_sum: _Sum | None = None
        self._full_sums: dict[str, _Sum] = {}  # by instance
        self._light: _Light | None = None
        self._began: float | None = None
        self._row: list[LearnedConcurrency] = []  # what the last comparisons said, all of them the same
        self._too_high, self._until, self._pause = MOST + 1, 0.0, 0.0
        self._raised = False  # since it was lowered last

    def add(self, at: float, instances: Mapping[str, InstanceLoad]) -> None:
        """Take what was seen of each instance later than all before."""
        if self._began is None:
            self._began = at
        for name, window in self._windows.add(at, instances).items():
            if window.failed > FAILED * window.ended:
                self._forget()
                return
            if window.mean >= MUCH * self.requests:
                self._add_full(at, name, window)
            elif window.mean <= LIGHT * self.requests:
                self._add_light(at, window)

    def skip(self) -> None:
        """Take nothing of what is until the next look: it is no time to learn from."""
        self._windows.forget()

    def learned(self) -> LearnedConcurrency | None:
        """Return another number, where enough comparisons say so."""
        return self._row[-1] if len(self._row) >= IN_A_ROW else None

    def follow(self, at: float, requests: int) -> None:
        """Go on with another number, which the proxy has from now on."""
        if requests < self.requests:
            if self._raised or not self._pause:
                self._pause = min(2 * self._pause or FIRST_PAUSE, LONGEST_PAUSE)
            self._too_high, self._until, self._raised = self.requests, at + self._pause, False
        else:
            self._raised = True
        self.requests = requests
        self._forget()

    def _forget(self) -> None:
        """Begin anew, but for how long a request takes on an instance that is light."""
        self._windows.forget()
        self._light_sum = None
        self._full_sums.clear()
        self._row.clear()

    def _add_light(self, at: float, window: _Sum) -> None:
        total = self._light_sum = _grown(self._light_sum, window, at)
        if total.ended >= ENOUGH and total.seconds >= ENOUGH_SECONDS:
            self._light, self._light_sum = _Light(total.takes, at), None

    def _add_full(self, at: float, name: str, window: _Sum) -> None:
        total = self._full_sums[name] = _grown(self._full_sums.get(name), window, at)
        if total.ended >= ENOUGH and total.seconds >= ENOUGH_SECONDS:
            del self._full_sums[name]
            self._compare(at, total)

    def _compare(self, at: float, full: _Sum) -> None:
        """Hold a time when full against the last one when light, and note what follows."""
        if self._light is None:
            if self._began is not None and at - self._began > FRESH_SECONDS:
                # It is never light, as where it is busy from the start: what it takes now may be what it takes.
                self._light = _Light(full.takes, at, used=True)
            return
        waits = 1 - self._light.takes / full.takes
        if waits >= WAITS_MUCH:
            self._note_fewer(at, full, self._light, waits)
        elif full.highest < min(FULL * self.requests, self.requests - SPARE):
            return  # what little waits there says nothing of one that is full
        elif waits > WAITS_LITTLE:
            self._row.clear()
        else:
            self._note(self._more(at), f"{_ms(full.takes)} on a full instance, {_ms(self._light.takes)} on a light one")

    def _note_fewer(self, at: float, full: _Sum, light: _Light, waits: float) -> None:
        if light.used or at - light.at > FRESH_SECONDS:
            return  # a moment in which all is slow is seen once: each comparison has a time of its own
        light.used = True
        rate = full.ended / full.seconds
        why = f"a full instance ends {rate:.0f} requests a second that take {_ms(light.takes)} on a light one"
        self._note(self._fewer(full.highest * (1 - waits)), why)

    def _note(self, requests: int, why: str) -> None:
        if self._row and (self._row[-1].requests > self.requests) != (requests > self.requests):
            self._row.clear()
        if requests != self.requests:
            self._row.append(LearnedConcurrency(requests, why))

    def _more(self, at: float) -> int:
        most = min(MOST, self._too_high - 1) if at < self._until else MOST
        return max(self.requests, min(most, self.requests + max(1, round(self.requests * UP))))

    def _fewer(self, answered: float) -> int:
        least = round(self.requests * (1 - DOWN))
        return max(1, min(self.requests - 1, max(least, round(answered))))


def _grown(total: _Sum | None, window: _Sum, at: float) -> _Sum:
    """Return a sum with a window more; one of long ago begins anew."""
    grown = total if total and at - total.began <= FRESH_SECONDS else _Sum(window.began)
    grown.add(window)
    return grown


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
