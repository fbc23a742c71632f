"""Looks at the load of a service whose manifest has `scale`, a few times a second, and has its size follow.

Where its `concurrency` is learned, that is learned from the same looks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from deployer.app.keeper.free import is_free
from deployer.app.keeper.load_tally import LoadTally
from deployer.app.operations import AppContext
from deployer.app.operations.adjust import fall_asleep, follow_load, learn
from deployer.app.usual_loads import UsualLoads
from deployer.core.amounts import span
from deployer.core.clock import Deadline
from deployer.core.errors import Refused
from deployer.engine import RolloutResult
from deployer.model import Load, Release
from deployer.planning.concurrency import ConcurrencyLearner, LearnedConcurrency
from deployer.planning.prediction import predicted
from deployer.planning.scaling import IdleTime, LoadHistory

LOOK_SECONDS = 0.25  # between two looks
WAKER_SECONDS = 5.0  # between two looks at what wakes a service that sleeps
ATTEND_SECONDS = 20.0  # for that to run


def followed(house: AppContext, service: str) -> Release | None:
    """Return the live release of a service if its size is to follow its load now: no person wants another one."""
    stable = house.store.services.get(service).stable
    release = house.store.releases.get(service, stable) if stable else None
    return release if release and release.manifest.scale and not release.scaled else None


class LoadWatch:
    """Watches one release, for as long as it is live and nobody wants another size."""

    def __init__(self, house: AppContext, release: Release) -> None:
        if (scale := release.scale) is None:
            raise Refused(f"{release.name} has no `scale`", "add it to the manifest")
        self._house, self._release = house, release
        drivers = house.drivers(release)
        self._inspection, self._sleeper = drivers.inspection, drivers.sleeper
        live = drivers.traffic.read(release.service)
        if live is None:
            raise Refused(f"the proxy does not know {release.service}", "`deploy doctor` says what is missing")
        self._colour = live.stable
        self._scale = scale
        self._history, self._idle = LoadHistory(self._scale), IdleTime()
        self._usual = UsualLoads(house.store.loads, release)
        self._tally = LoadTally(release.service, scale.each, house.store.loads, house.clock)
        learns = release.manifest.scale is not None and release.manifest.scale.learns
        self._learner = ConcurrencyLearner(scale.each) if learns else None
        self._attended, self._told = 0.0, house.clock.now()

    def lasts(self) -> bool:
        """Return whether it is still to be watched."""
        store, service = self._house.store, self._release.service
        return store.services.get(service).stable == self._release.number and store.sizes.get(service) is None

    def look(self) -> RolloutResult | None:
        """Look once, and have the size changed if that is due. Raise Locked while others are at work."""
        house, store, service = self._house, self._house.store, self._release.service
        if store.rollouts.in_progress(service) is not None:
            self._tally.skip()
            self._skip()
            return None  # a candidate may have a part of the users: what is left here is not the load
        if self._sleeps():
            self._tally.add(0, Load())
            self._skip()
            return None
        at, load = house.clock.monotonic(), self._inspection.load(service).get(self._colour, Load())
        self._history.add(at, load)
        self._idle.add(at, load)
        if self._learner is not None:
            self._learner.add(at, load.instances)
        need = store.needs.get(service)
        size = replace(self._release, needed=need.instances if need else 0).size(self._colour)
        self._tally.add(size, load)
        wanted, lonely = self._history.wanted(size), self._is_lonely()
        if not lonely:
            wanted = predicted(wanted, self._usual.at(house.clock.now()), self._scale)
        sleepy = lonely and size == 1
        another = self._learner.learned() if self._learner else None
        if (wanted.instances == size and not sleepy and not another) or not is_free(house, service):
            return None
        if wanted.instances == size and another is not None:
            return self._learn(another)
        if wanted.instances == size:
            return fall_asleep(house, service, f"nobody came for {span(self._scale.idle)}")
        return follow_load(house, service, wanted)

    def _learn(self, another: LearnedConcurrency) -> RolloutResult | None:
        """Have an instance get another number of requests at once, and go on with it."""
        ended = learn(self._house, self._release.service, another)
        if self._learner is not None:
            self._learner.follow(self._house.clock.monotonic(), another.requests)
        self._scale = self._scale.model_copy(update={"concurrency": another.requests})
        self._history.follow(self._scale)
        self._tally.concurrency = another.requests
        return ended

    def _skip(self) -> None:
        if self._learner is not None:
            self._learner.skip()

    def close(self) -> None:
        """Record what was seen of the load since it was recorded last."""
        self._tally.close()

    def woken(self) -> Iterator[str]:
        """Return what became of starts by requests since the last call."""
        for wake in self._sleeper.wakes(self._release.service) if self._sleeper else ():
            if wake.at > self._told:
                self._told = wake.at
                yield wake.text

    def _is_lonely(self) -> bool:
        """Return whether nobody has come for so long that it goes to sleep, whatever is usual."""
        scale = self._scale
        lonely = scale.sleeps and self._idle.seconds() >= scale.idle
        return lonely and not scale.awake_until(self._house.clock.now())

    def _sleeps(self) -> bool:
        """Return whether it sleeps, and see that a request would wake it."""
        sleeper = self._sleeper
        if sleeper is None or self._colour not in sleeper.asleep(self._release.service):
            return False
        if self._house.clock.monotonic() - self._attended >= WAKER_SECONDS:
            self._attended = self._house.clock.monotonic()
            sleeper.attend(Deadline.after(self._house.clock, ATTEND_SECONDS))
        return True
