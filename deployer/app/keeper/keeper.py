"""Looks at all services again and again, and has done what is due of each, in a thread of its own.

What is to be done is planned by a pure function from what is seen; where what is missing may be started again by its
engine, at two looks in a row, so that it is not done twice. A service with a rollout in progress belongs to that.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, suppress
from functools import partial

from deployer.app.attendance import KEEPER
from deployer.app.due import due, may_pass
from deployer.app.homes import home_of
from deployer.app.keeper.free import is_free
from deployer.app.keeper.load_watch import LOOK_SECONDS as LOAD_SECONDS
from deployer.app.keeper.load_watch import LoadWatch, followed
from deployer.app.keeper.move_watch import LOOK_SECONDS as MOVE_SECONDS
from deployer.app.keeper.move_watch import MoveWatch, moves
from deployer.app.observe import observe
from deployer.app.operations import AppContext, resume
from deployer.app.operations.adjust import keep
from deployer.app.operations.guest_keeping import see_to
from deployer.app.operations.guests import guests
from deployer.app.operations.proxy_recovery import bring_back
from deployer.app.side_threads import SideThreads
from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import Detached, Locked
from deployer.core.said_once import SaidOnce
from deployer.engine import RolloutResult
from deployer.model import Release
from deployer.planning import release_record
from deployer.planning.orders import StopRequest
from deployer.planning.plan import Plan
from deployer.store import Claim, Rollout

LOOK_SECONDS = 5.0  # between two looks
GUESTS = "guests"  # of all tenants: what speaks of them names no service
END_SECONDS = 10.0  # for what is in progress when the keeper ends: the next one goes on with it

Opener = Callable[[StopRequest], AbstractContextManager[AppContext]]
Say = Callable[[str, str, RolloutResult | None], None]  # about which service, what, and the ending where there is one
Woken = Callable[[str, str], None]  # which service was woken by a request, and what became of that


class Keeper:
    """Keeps what runs as it should be. Of two keepers of a state folder one works, and the other waits for its end."""

    def __init__(self, opened: Opener, say: Say, woken: Woken = lambda _service, _text: None) -> None:
        self._opened, self._say, self._woken = opened, say, woken
        self._stop = StopRequest(detach=True)
        self._held: dict[str, Claim] = {}  # by the name of the claim
        self._others = True  # another keeper is at work, as far as is known
        self._seen: dict[str, Plan] = {}
        self._threads = SideThreads[str](lambda service, text: say(service, text, None))
        self._loads = SideThreads[str](lambda service, text: say(service, text, None))
        self._moves = SideThreads[str](lambda service, text: say(service, text, None))
        self._guests = SideThreads[str](lambda service, text: say(service, text, None))
        self._hosts = SaidOnce[str]()  # what they do with guests by themselves

    def look(self) -> None:
        """Look at all services once, and begin what is due. Raise DeployError when the store cannot be read."""
        self._threads.prune()
        self._loads.prune()
        self._moves.prune()
        self._guests.prune()
        ours = list[str]()
        with self._opened(self._stop) as house:
            self._others = not self._holds(house, KEEPER.claim)
            for service in house.store.services.all():
                if not self._is_ours(house, service.name):
                    continue
                ours.append(service.name)
                if service.name not in self._threads:
                    with self._threads.noted(service.name):
                        self._look_at(house, service.name)
                with self._loads.noted(service.name):
                    if service.name not in self._loads and (release := followed(house, service.name)):
                        self._watch(release)
            if ours and any(release.service in ours for release in guests(house)):
                self._guests.begin(GUESTS, GUESTS, partial(self._see_to_guests, ours))

    @property
    def waits(self) -> bool:
        """Whether another keeper works, and this one waits for its end."""
        return self._others

    def stop(self) -> None:
        """Look no more, and leave what is in progress where it is, for the next keeper."""
        self._stop.asked.set()
        deadline = Deadline.after(SystemClock(), END_SECONDS)
        self._loads.join(deadline.left())
        self._moves.join(deadline.left())
        self._guests.join(deadline.left())
        self.join(deadline.left())
        while self._held:
            self._held.popitem()[1].let_go()

    def join(self, seconds: float) -> None:
        """Wait until nothing is in progress, but no longer than so."""
        self._threads.join(seconds)
        self._guests.join(seconds)

    def _is_ours(self, house: AppContext, service: str) -> bool:
        """Return whether this keeper keeps a service: what one control host alone reaches is kept from there."""
        home = home_of(house.store, service)
        if not home:
            return not self._others
        return home == release_record.home(house.store.folder) and self._holds(house, f"{KEEPER.claim}@{home}")

    def _holds(self, house: AppContext, name: str) -> bool:
        held = self._held.get(name)
        if held is None or not held.stands():
            claim = house.store.claims.claim(name)
            if not claim.try_take():
                self._held.pop(name, None)
                return False
            self._held[name] = claim
        return True

    def _look_at(self, house: AppContext, service: str) -> None:
        """Begin what is due of a service that nobody else is at work on."""
        store, stable = house.store, house.store.services.get(service).stable
        seen = self._seen.pop(service, None)
        if not stable:
            return
        release = store.releases.get(service, stable)
        drivers = house.drivers(release)
        if moves(drivers, release):
            self._follow(service)
        rollout = store.rollouts.in_progress(service)
        if store.locks.read(service) is not None or (rollout and not _was_left(rollout)):
            return
        if rollout is not None:
            self._begin(service, partial(resume, service=service, reason="its process was gone"))
            return
        if not is_free(house, service):
            return
        observed = observe(store, drivers, service)
        plan = due(house, drivers, release, observed)
        if plan is None and drivers.traffic.lost(service):
            self._begin(service, partial(bring_back, service=service))
        elif plan is None:
            self._threads.settled(service)
        elif plan == seen or not (service in self._moves or may_pass(drivers, release, observed)):
            self._begin(service, partial(keep, service=service))
        else:
            self._seen[service] = plan

    def _see_to_guests(self, ours: Collection[str]) -> None:
        """Do what is due of guests, all at the same time."""
        with suppress(Detached, Locked), self._opened(self._stop) as house:
            house.stop = self._stop
            see_to(house, ours, lambda ended: self._say(_service_of(house, ended), ended.text, ended), self._frozen)
            self._guests.settled(GUESTS)

    def _frozen(self, host: str, text: str) -> None:
        """Report once that a host has frozen its guests."""
        if not text:
            self._hosts.settle(host)
        elif self._hosts.is_new(host, text):
            self._say(GUESTS, f"frozen by {host or 'this host'} {text}", None)

    def _watch(self, release: Release) -> None:
        """Have the size of a live release follow its load, until another one is live, or somebody wants a size."""
        service = release.service

        def do() -> None:
            with self._opened(self._stop) as house:
                house.stop = self._stop
                watch = LoadWatch(house, release)
                while watch.lasts() and not self._stop.asked.wait(LOAD_SECONDS):
                    with suppress(Detached, Locked):  # somebody else is at work
                        if (ended := watch.look()) is not None:
                            self._say(service, ended.text, ended)
                    for text in watch.woken():
                        self._woken(service, text)
                    self._loads.settled(service)
                watch.close()

        self._loads.begin(service, f"load of {service}", do)

    def _follow(self, service: str) -> None:
        """Have users of a service follow its instances to other hosts, as long as its live release has such."""

        def do() -> None:
            with self._opened(self._stop) as house:
                house.stop = self._stop
                watch = MoveWatch(house, service)
                while watch.lasts() and not self._stop.asked.wait(MOVE_SECONDS):
                    with suppress(Detached, Locked):  # somebody else is at work
                        if (ended := watch.look()) is not None:
                            self._say(service, ended.text, ended)
                    self._moves.settled(service)

        self._moves.begin(service, f"moves of {service}", do)

    def _begin(self, service: str, work: Callable[[AppContext], RolloutResult | None]) -> None:
        def do() -> None:
            with suppress(Detached, Locked):  # somebody else is at work: it is looked at again
                with self._opened(self._stop) as house:
                    house.stop = self._stop
                    ended = work(house)
                if ended is not None:
                    self._say(service, ended.text, ended)

        self._threads.begin(service, f"keeper of {service}", do)


def _service_of(house: AppContext, ended: RolloutResult) -> str:
    return house.store.rollouts.get(ended.rollout).service


def _was_left(rollout: Rollout) -> bool:
    """Return whether it is an adjustment whose process is gone, and that waits for nobody."""
    return rollout.adjusts and not rollout.outcome
