"""The proxies of a group, all at the same time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from deployer.core.clock import Deadline
from deployer.core.errors import DeployError, DriverFailed, TakenBack, Unreachable
from deployer.drivers.ports import TrafficCare
from deployer.drivers.traffic.haproxy.identity import new_key
from deployer.drivers.traffic.haproxy.request_stream import Feed, Requests
from deployer.drivers.traffic.haproxy.spec import Spec
from deployer.drivers.traffic.proxies import consensus
from deployer.model import Live, Place, Release
from deployer.transport.fanout import Answers, on_all

T = TypeVar("T")
U = TypeVar("U")


class GroupMember(TrafficCare, Protocol):
    """One of several proxies."""

    def stream(self, service: str, feed: Feed) -> AbstractContextManager[Requests]:
        """Have `feed` get the requests of the service."""
        ...

    def configure(self, release: Release, place: Place | None, deadline: Deadline, key: str = "") -> None:
        """Make the proxy treat the service as the release's manifest says, and sign cookies with this key."""
        ...

    def spec(self, service: str) -> str | None:
        """Return what the proxy knows about a service, as text that `join` reads; None when it does not know it."""
        ...

    def join(self, service: str, text: str, live: Live, deadline: Deadline) -> None:
        """Make the proxy serve a service as another one does."""
        ...


class Members:
    """Proxies, by the name of their host."""

    def __init__(self, members: Mapping[str, GroupMember]) -> None:
        self._members = dict(members)

    @property
    def names(self) -> list[str]:
        """Their names."""
        return list(self._members)

    @property
    def first(self) -> GroupMember:
        """The first of them."""
        return next(iter(self._members.values()))

    def every(self) -> list[GroupMember]:
        """Return all of them."""
        return list(self._members.values())

    def only(self, names: Mapping[str, Any]) -> Members:
        """Return those with these names."""
        return Members({name: self._members[name] for name in names})

    def all(self, work: Callable[[GroupMember], T]) -> dict[str, T]:
        """Do the work on all. Raise the error that says most, once all have ended."""
        tried = self.tried(work)
        refuse(tried)
        return tried.ok

    def tried(self, work: Callable[[GroupMember], T]) -> Answers[str, T]:
        """Do the work on all; return what came of it on each."""
        return on_all(self._members, work, len(self._members))

    def each(self, given: Mapping[str, U], work: Callable[[GroupMember, U], T]) -> Answers[str, T]:
        """Do the work with what is given for each of some of them."""
        pairs = {name: (self._members[name], part) for name, part in given.items()}
        return on_all(pairs, lambda pair: work(*pair), len(pairs))

    def values(self, service: str) -> dict[str, Live]:
        """Read the live value of each that knows the service."""
        found = self.all(lambda member: member.read(service))
        return {name: live for name, live in found.items() if live is not None}

    def welcome(self, service: str, deadline: Deadline) -> None:
        """Bring a proxy that is new to where the others are, before anything changes."""
        values = self.values(service)
        new = [name for name in self._members if values and name not in values]
        if not new:
            return
        known = next(iter(values))
        text = self._members[known].spec(service)
        if text is None:
            raise DriverFailed(f"{known} does not know {service} any more", "`deploy doctor` shows more")
        joined = dict.fromkeys(new, consensus.without_budget(values))
        refuse(self.each(joined, lambda member, live: member.join(service, text, live, deadline)))

    def key(self, service: str) -> str:
        """Return the key with which all of them sign cookies: that of the first one that has one, or a new one."""
        texts = self.all(lambda member: member.spec(service)).values()
        return next(filter(None, (Spec.model_validate_json(text).key for text in texts if text)), "") or new_key()


def worst(failed: Mapping[str, DeployError]) -> DeployError:
    """Return the error that says most: what a person did, then what a proxy said, then that one is unreachable."""
    return min(failed.values(), key=lambda e: (not isinstance(e, TakenBack), isinstance(e, Unreachable)))


def refuse(tried: Answers[str, Any]) -> None:
    """Raise the error that says most, if there is one."""
    if tried.failed:
        raise worst(tried.failed)
