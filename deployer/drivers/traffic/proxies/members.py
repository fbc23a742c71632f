"""The proxies of a group, all at the same time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

from deployer.core.clock import Clock, Deadline
from deployer.core.errors import (
    DeadlinePassed,
    DeployError,
    DriverFailed,
    LockHeld,
    LockLost,
    NoServerUp,
    Refused,
    TakenBack,
    Unreachable,
)
from deployer.drivers.ports import CertificateProxy
from deployer.drivers.traffic.haproxy.request_stream import Feed, Requests
from deployer.drivers.traffic.proxies import consensus
from deployer.drivers.traffic.proxies.lost_proxies import LostProxies
from deployer.drivers.traffic.proxies.prompt_calls import LONGEST_WAIT, PromptCalls
from deployer.model import Live, LostProxy, Place, Release
from deployer.transport.fanout import Answers, on_all

EVERY = ""  # in place of a service: what is asked is about all of them
T = TypeVar("T")
U = TypeVar("U")


class Membership(Protocol):
    """What a proxy does as one of several, and while something is done to its host."""

    def stream(self, service: str, feed: Feed) -> AbstractContextManager[Requests]:
        """Have `feed` get the requests of the service."""
        ...

    def close_entries(self, deadline: Deadline) -> int:
        """Take no new connections, and wait until no request is open; return how many are at the deadline."""
        ...

    def open_entries(self, deadline: Deadline) -> None:
        """Take new connections again."""
        ...

    def spec(self, service: str) -> str | None:
        """Return what the proxy knows about a service, as text that `join` reads; None when it does not know it."""
        ...

    def join(self, service: str, text: str, live: Live, deadline: Deadline) -> None:
        """Make the proxy serve a service as another one does."""
        ...


class GroupMember(CertificateProxy, Protocol):
    """One of several proxies."""

    @property
    def membership(self) -> Membership:
        """What it does as one of them."""
        ...

    def configure(
        self, release: Release, place: Place | None, deadline: Deadline, key: str = "", chain_key: str = ""
    ) -> None:
        """Make the proxy treat the service as the release's manifest says, and sign cookies with this key."""
        ...

    def read(self, service: str, patience: float | None = None) -> Live | None:
        """Read what the proxy does now; a lock is waited for no longer than these seconds."""
        ...


class Members:
    """Proxies, by the name of their host: those that are `lost` are left out while at least `least` are not.

    One that fails where enough others do not is left out from then on, until it is brought back; so is one that says
    nothing for so many seconds (`wait`) after them, where it could respond at once. With `least` of all, which is the
    default, none is ever left out.
    """

    def __init__(
        self,
        members: Mapping[str, GroupMember],
        clock: Clock,
        lost: LostProxies | None = None,
        least: int | None = None,
        wait: float = LONGEST_WAIT,
    ) -> None:
        self._members = dict(members)
        self._lost = lost
        self.least = len(self._members) if least is None else least
        self._clock = clock
        self.prompt = PromptCalls(self._members, self.least, wait, clock)
        self._failed: dict[tuple[str, str], str] = {}  # by service and name: why it is left out, not yet written down

    @property
    def names(self) -> list[str]:
        """Their names, lost ones too."""
        return list(self._members)

    @property
    def every(self) -> Mapping[str, GroupMember]:
        """All of them, lost ones too."""
        return self._members

    def some(self, names: Collection[str]) -> dict[str, GroupMember]:
        """Return those with these names, lost ones too."""
        return {name: member for name, member in self._members.items() if name in names}

    @property
    def spares(self) -> bool:
        """Whether a rollout goes on without one that is lost."""
        return self.prompt.spares

    def present(self, service: str) -> dict[str, GroupMember]:
        """Return those that have what the others have. Raise Unreachable where these are not enough."""
        there = self.left(service)
        if self.spares and len(there) < self.least:
            named = "; ".join(f"{name} is lost: {why}" for name, why in self.away(service).items())
            raise Unreachable(
                f"{len(there)} of {len(self._members)} proxies have what {service} needs, and `traffic.proxies.min` is"
                f" {self.least}; {named}",
                "`deploy doctor --fix` brings those back that respond",
            )
        return there

    def left(self, service: str) -> dict[str, GroupMember]:
        """Return those that have what the others have, however few."""
        away = self.away(service) if self.spares else {}
        return {name: member for name, member in self._members.items() if name not in away}

    def away(self, service: str) -> dict[str, str]:
        """Return why proxies are left out, by name."""
        failed = {name: why for (of, name), why in list(self._failed.items()) if of == service}
        return {name: one.why for name, one in self.lost(service).items()} | failed

    def lost(self, service: str) -> dict[str, LostProxy]:
        """Return what is written down of lost ones."""
        return self._lost.of(service, self._members) if self._lost else {}

    def only(self, names: Mapping[str, Any]) -> Members:
        """Return those with these names, to look at: all of them that are not lost are enough."""
        return Members({name: self._members[name] for name in names}, self._clock, self._lost, 0, self.prompt.wait)

    # -- the same work on all

    def all(self, service: str, work: Callable[[GroupMember], T]) -> dict[str, T]:
        """Do the work on all that are present, and leave out those that fail. Raise where too few are left.

        The error is the one that says most, once all have ended.
        """
        return self.enough(service, self.tried(self.present(service), work))

    def ask(self, service: str, work: Callable[[GroupMember], T]) -> dict[str, T]:
        """Have all that are present do what they do at once, as `all`; those are left out, too, that are silent."""
        return self.enough(service, self.prompt.on(self.present(service), work), at_once=True)

    def change(self, service: str, work: Callable[[GroupMember], T]) -> dict[str, T]:
        """Do the work on all that are present, as `all`; those that are left out are written down as lost.

        Each is asked first what it does: one that says nothing would use up the time that the work may take.
        """
        if self.spares:
            self.ask(service, self.prompt.reading(service))
        done = self.all(service, work)
        self.write_down(service)
        return done

    @staticmethod
    def tried(members: Mapping[str, GroupMember], work: Callable[[GroupMember], T]) -> Answers[str, T]:
        """Do the work on these; return what came of it on each."""
        return on_all(members, work, len(members))

    def each(self, parts: Mapping[str, U], work: Callable[[GroupMember, U], T]) -> Answers[str, T]:
        """Do the work with what is given for each of some of them."""
        pairs = {name: (self._members[name], part) for name, part in parts.items()}
        return on_all(pairs, lambda pair: work(*pair), len(pairs))

    def enough(self, service: str, tried: Answers[str, T], *, at_once: bool = False) -> dict[str, T]:
        """Return what came of a work, and leave out those that failed; raise where they cannot be spared."""
        if not can_be_lost(tried, at_once=at_once) or len(tried.ok) < self.least or not self.spares:
            refuse(tried)
        for name, error in tried.failed.items():
            self._failed[service, name] = error.message
        return tried.ok

    # -- those that are lost

    def lose(self, service: str, name: str, error: DeployError) -> None:
        """Leave out one that has failed. Raise its error where it cannot be spared."""
        left = {other: None for other in self.left(service) if other != name}
        self.enough(service, Answers(left, {name: error}))

    def write_down(self, service: str, also: Mapping[str, Iterable[Live]] = MappingProxyType({})) -> None:
        """Write down which are lost: each may have what the others have now, or what `also` says of it."""
        new = {name: why for (of, name), why in list(self._failed.items()) if of == service}
        if not new or self._lost is None:
            return
        values = {} if new.keys() <= also.keys() else self.some_values(self.left(service), service)
        now = [consensus.one(values)] if values else []
        for name, why in new.items():
            self._lost.add(service, name, also.get(name, now), why)
            del self._failed[service, name]

    def are_back(self, service: str, names: Iterable[str]) -> None:
        """Write down that proxies have what the others have."""
        gone = list(names)
        if self._lost is not None:
            self._lost.remove(service, gone)
        for name in gone:
            self._failed.pop((service, name), None)
            self._failed.pop((EVERY, name), None)

    def changing(self, service: str, before: Live | None, now: Live) -> AbstractContextManager[None]:
        """Write down, while a change of who gets users is made, what it replaces."""
        return self._lost.changing(service, before, now) if self._lost and self.spares else nullcontext()

    # -- what they have

    def values(self, service: str) -> dict[str, Live]:
        """Read the live value of each that knows the service."""
        return _known(self.ask(service, self.prompt.reading(service)))

    def some_values(self, members: Mapping[str, GroupMember], service: str) -> dict[str, Live]:
        """Read the live value of each of these that responds and knows the service."""
        return _known(self.prompt.read(members, service).ok)


def _known(found: Mapping[str, Live | None]) -> dict[str, Live]:
    return {name: live for name, live in found.items() if live is not None}


def can_be_lost(tried: Answers[str, Any], *, at_once: bool = False) -> bool:
    """Return whether all errors are of the proxies themselves: not of servers behind them, people, or a later owner.

    That a time was over is, where each does `at_once` what is asked; else only where it went by for a lock.
    """
    theirs = DriverFailed | Refused | (DeadlinePassed if at_once else LockHeld)
    return all(isinstance(e, theirs) and not isinstance(e, NoServerUp) for e in tried.failed.values())


def worst(failed: Mapping[str, DeployError]) -> DeployError:
    """Return the error that says most: what somebody else did, then what a proxy said, then that one is unreachable."""
    return min(failed.values(), key=lambda e: (not isinstance(e, LockLost | TakenBack), isinstance(e, Unreachable)))


def refuse(tried: Answers[str, Any]) -> None:
    """Raise the error that says most, if there is one."""
    if tried.failed:
        raise worst(tried.failed)
