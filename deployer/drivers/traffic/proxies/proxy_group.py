"""Several proxies as one: a change is prepared on all, made on all, read back from all; else all keep what they had."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from deployer.core.clock import Clock, Deadline
from deployer.core.errors import DeployError, DriverFailed, NoServerUp, Refused, TakenBack, Unreachable
from deployer.drivers.ports import NOTHING, Drift, Samples, TrafficCare
from deployer.drivers.traffic.haproxy.endpoint_files import Cards
from deployer.drivers.traffic.haproxy.identity import new_key
from deployer.drivers.traffic.haproxy.request_counter import RequestCounter
from deployer.drivers.traffic.haproxy.request_stream import Feed, Requests, counted
from deployer.drivers.traffic.haproxy.spec import Spec
from deployer.drivers.traffic.proxies import consensus
from deployer.drivers.traffic.proxies.budget_split import divided
from deployer.model import COLOURS, Live, MeasuredTraffic, Place, Release, Server
from deployer.planning.certificates import ServedCertificate
from deployer.transport.fanout import Answers, on_all

if TYPE_CHECKING:
    from deployer.manifest.models import Manifest

T = TypeVar("T")
U = TypeVar("U")
BACK_SECONDS = 10.0  # to give the others what they had when one has failed


class GroupMember(TrafficCare, Protocol):
    """One of several proxies."""

    def stream(self, service: str, feed: Feed) -> AbstractContextManager[Requests]:
        """Have the requests of the service told to `feed`."""
        ...

    def configure(self, release: Release, place: Place | None, deadline: Deadline, key: str = "") -> None:
        """Make the proxy treat the service as the release's manifest says, and sign cookies with this key."""
        ...

    def spec(self, service: str) -> str | None:
        """Give what the proxy knows about a service, as text that `join` reads; None when it does not know it."""
        ...

    def join(self, service: str, text: str, live: Live, deadline: Deadline) -> None:
        """Make the proxy serve a service as another one does."""
        ...


class ProxyGroup:
    """Proxies, by the name of their machine, that stand for one."""

    def __init__(self, members: Mapping[str, GroupMember], clock: Clock, cards: Cards) -> None:
        self._members = dict(members)
        self._clock = clock
        self._cards = cards

    # -- what is the same on all

    def check(self, manifest: Manifest, deadline: Deadline) -> None:
        """Raise Refused when one of them could not do what the manifest says; nothing is changed by it."""
        budget = manifest.traffic.budget
        if budget and budget.answers < len(self._members):
            raise Refused(
                f"traffic.budget: {budget.answers} cannot be divided among {len(self._members)} proxies",
                f"{len(self._members)} or more, or false",
            )
        self._all(lambda member: member.check(manifest, deadline))

    def configure(self, release: Release, place: Place | None, deadline: Deadline) -> None:
        """Make all of them treat the service as the release's manifest says; one that could not is asked first."""
        self._welcome(release.service, deadline)
        self._all(lambda member: member.check(release.manifest, deadline))
        key = self._key(release.service)
        self._all(lambda member: member.configure(release, place, deadline, key))
        self._cards.write(release.service)

    def install(self, given: Sequence[ServedCertificate], deadline: Deadline) -> None:
        """Serve these certificates at all of them: each has the same key and chain."""
        self._all(lambda member: member.install(given, deadline))

    def introduce(self, service: str, place: Place, servers: Sequence[Server], deadline: Deadline) -> None:
        """Begin the checks of new servers at each proxy."""
        self._all(lambda member: member.introduce(service, place, servers, deadline))

    def attach(self, service: str, place: Place, servers: Sequence[Server], deadline: Deadline) -> None:
        """Make the place have these servers; wait until each proxy's own checks passed."""
        self._all(lambda member: member.attach(service, place, servers, deadline))

    def drain(self, service: str, place: Place, names: Sequence[str], deadline: Deadline) -> int:
        """Give the servers no new requests, wait until none is running; give the number open at the deadline."""
        return sum(self._all(lambda member: member.drain(service, place, names, deadline)).values())

    def hand_over(self, service: str, place: Place, part: float, deadline: Deadline) -> int:
        """Close this part of the WebSockets and tcp sessions that are open at the place, at each of them."""
        return sum(self._all(lambda member: member.hand_over(service, place, part, deadline)).values())

    def detach(self, service: str, place: Place, names: Sequence[str], deadline: Deadline) -> None:
        """Make all of them forget the servers."""
        self._all(lambda member: member.detach(service, place, names, deadline))

    def forget(self, service: str, deadline: Deadline) -> None:
        """Remove the service from all of them."""
        self._all(lambda member: member.forget(service, deadline))
        self._cards.remove(service)

    # -- the live value

    def read(self, service: str) -> Live | None:
        """Read what they do now; None when none of them knows the service.

        Where they differ, a change did not come to its end: see `agreeing.one`. One that does not know the service yet
        has no say; `configure` and `mend` bring it in.
        """
        values = self._values(service)
        return consensus.one(values) if values else None

    def set_traffic(self, service: str, live: Live, deadline: Deadline, given: Live | None = None) -> None:
        """Write the value to all, and read it back; where one cannot take it, the others get back what they had.

        But not on the way back to stable, which is the safe direction: whoever can is taken there, and then it raises.
        """
        before = self._tried(lambda member: member.read(service))
        if not _is_safe(live, before.ok):
            _refuse(before)
            self._refuse_nowhere(service, live)
        parts = self._divided(service, live, before.ok)
        tried = self._each(parts, lambda member, part: member.set_traffic(service, part, deadline, given))
        if tried.failed and not _is_safe(live, before.ok):
            self._put_back(service, {name: before.ok[name] for name in tried.ok}, _worst(tried.failed))
        _refuse(tried)
        _refuse(before)

    def spent(self, service: str) -> int:
        """Read how many failed responses of the candidate users have seen, at all of them together."""
        return sum(self._all(lambda member: member.spent(service)).values())

    # -- what is asked

    def certificates(self, service: str) -> Mapping[str, Mapping[str, str]]:
        """Return the certificate that each of them shows for each domain of a service, by the name of its host."""
        found = self._all(lambda member: member.certificates(service))
        return {name: shown for name, one in found.items() for shown in one.values()}

    def connections(self, service: str) -> Mapping[Place, int]:
        """Return how many requests and connections are open at each place, at all of them together."""
        seen = self._all(lambda member: member.connections(service)).values()
        places = dict.fromkeys(place for found in seen for place in found)
        return {place: sum(found.get(place, 0) for found in seen) for place in places}

    def measured(self, service: str) -> MeasuredTraffic | None:
        """Return how many requests come to all of them together; None where one of them does not say."""
        seen = list(self._all(lambda member: member.measured(service)).values())
        known = [traffic for traffic in seen if traffic]
        return reduce(operator.add, known) if known and len(known) == len(seen) else None

    def servers(self, service: str, place: Place) -> tuple[tuple[Server, bool], ...]:
        """Read the servers of the place; one is up that all find up."""
        seen = [dict(found) for found in self._all(lambda member: member.servers(service, place)).values()]
        every = dict.fromkeys(server for found in seen for server in found)
        return tuple((server, all(found.get(server, False) for found in seen)) for server in every)

    def preview(self, service: str) -> tuple[str, dict[str, str]]:
        """Give base URL and headers of the preview route of the first of them."""
        return next(iter(self._members.values())).preview(service)

    def samples(self, service: str) -> AbstractContextManager[Samples]:
        """Open the streams of all; they count together, so that a client that keeps its side is one."""
        tally = RequestCounter(service)
        return counted(tally, [member.stream(service, tally) for member in self._members.values()])

    def reachable(self) -> tuple[TrafficCare, Mapping[str, str]]:
        """Give the driver of those that answer now, and why the others do not; of all of them where none does."""
        tried = self._tried(lambda member: member.services())
        if not (tried.failed and tried.ok):
            return self, {}
        there = {name: self._members[name] for name in tried.ok}
        return ProxyGroup(there, self._clock, self._cards), {n: error.message for n, error in tried.failed.items()}

    def services(self) -> tuple[str, ...]:
        """Name the services that any of them knows."""
        return tuple(sorted({name for found in self._all(lambda m: m.services()).values() for name in found}))

    # -- what is wrong

    def drift(self, service: str) -> tuple[Drift, ...]:
        """Compare files and workers of each, and all of them with each other."""
        tried = self._tried(lambda member: member.drift(service))
        found = [replace(f, text=f"{name}: {f.text}") for name, faults in tried.ok.items() for f in faults]
        found += [Drift(error.message, repairable=False, remedy=error.hint) for error in tried.failed.values()]
        if not tried.failed:
            found += self._differences(service)
            if any(self._values(service)) and not self._cards.right(service):
                found.append(Drift(f"the emergency card of {service} is missing or wrong: going back takes longer"))
        return tuple(found)

    def repair(self, service: str, deadline: Deadline, lost: Mapping[str, Live] = NOTHING) -> None:
        """Make files and workers of each agree, and all of them with each other.

        What one has lost the others have; what all have lost is that of `lost`.
        """
        there = self._tried(lambda member: member.read(service))
        known = {name: live for name, live in there.ok.items() if live is not None}
        agreed = {**lost, **({service: replace(consensus.one(known), budget=0)} if known else {})}
        broken = dict.fromkeys((*known, *there.failed), agreed)
        _refuse(self._each(broken, lambda member, given: member.repair(service, deadline, given)))
        self._welcome(service, deadline)
        values = self._values(service)
        if consensus.differing(values):
            one = consensus.one(values)
            self.set_traffic(service, one if one.share else replace(one, budget=0), deadline)
        if values:
            self._cards.write(service)

    def _differences(self, service: str) -> Iterator[Drift]:
        values = self._values(service)
        yield from (Drift(f"{name} has {has}, others do not") for name, has in consensus.differing(values).items())
        if values:
            yield from (Drift(f"{name} does not know {service}") for name in self._members if name not in values)

    def _welcome(self, service: str, deadline: Deadline) -> None:
        """Bring a proxy that is new to where the others are, before anything changes."""
        values = self._values(service)
        strangers = [name for name in self._members if values and name not in values]
        if not strangers:
            return
        text = self._members[next(iter(values))].spec(service)
        if text is None:
            raise DriverFailed(f"{next(iter(values))} does not know {service} any more", "`deploy doctor` shows more")
        one = replace(consensus.one(values), budget=0)
        joined = dict.fromkeys(strangers, one)
        _refuse(self._each(joined, lambda member, live: member.join(service, text, live, deadline)))

    def _key(self, service: str) -> str:
        """Return the key with which all of them sign cookies: that of the first one that has one, or a new one."""
        texts = self._all(lambda member: member.spec(service)).values()
        return next(filter(None, (Spec.model_validate_json(text).key for text in texts if text)), "") or new_key()

    # -- the value, on all

    def _values(self, service: str) -> dict[str, Live]:
        found = self._all(lambda member: member.read(service))
        return {name: live for name, live in found.items() if live is not None}

    def _divided(self, service: str, live: Live, before: Mapping[str, Live | None]) -> dict[str, Live]:
        """Give each proxy its part of the budget; what was spent in this rollout stays with who spent it."""
        names = list(self._members) if live.budget else list(before)
        if not live.budget:
            return dict.fromkeys(names, live)
        same = {name for name, was in before.items() if was is not None and was.rollout == live.rollout and was.budget}
        spent = dict.fromkeys(names, 0)
        if same:
            spent |= self._each(dict.fromkeys(same), lambda member, _nothing: member.spent(service)).ok
        try:
            return {name: replace(live, budget=part) for name, part in divided(live.budget, spent).items()}
        except ValueError as error:
            raise DriverFailed(str(error), "raise traffic.budget, or set it to false") from None

    def _refuse_nowhere(self, service: str, live: Live) -> None:
        """See that every proxy has a server that is up wherever users are to go, before any of them is told.

        With all users on stable and no server up on either side, nothing is lost by that.
        """
        places = dict.fromkeys((*COLOURS, *live.used))

        def up(member: GroupMember) -> dict[Place, bool]:
            return {place: any(is_up for _, is_up in member.servers(service, place)) for place in places}

        for name, found in self._all(up).items():
            missing = [place for place in live.used if not found[place]]
            if missing and (live.share or any(found[colour] for colour in COLOURS)):
                raise NoServerUp(
                    f"{name}: no server of {missing[0]} of {service} is up, users are not sent there",
                    "`deploy status` shows why",
                )

    def _put_back(self, service: str, former: Mapping[str, Live | None], error: DeployError) -> None:
        """Give those that took a value what they had, as one of the others could not, and raise that."""
        deadline = Deadline.after(self._clock, BACK_SECONDS)
        had = {name: live for name, live in former.items() if live is not None}
        stuck = self._each(had, lambda member, live: member.set_traffic(service, live, deadline)).failed
        now = f"{', '.join(stuck)} could not be put back" if stuck else "the others have what they had"
        raise type(error)(f"{error.message}; {now}", error.hint)

    # -- all at the same time

    def _all(self, work: Callable[[GroupMember], T]) -> dict[str, T]:
        """Do something on all. Raises an error once all have ended."""
        tried = self._tried(work)
        _refuse(tried)
        return tried.ok

    def _tried(self, work: Callable[[GroupMember], T]) -> Answers[str, T]:
        return on_all(self._members, work, len(self._members))

    def _each(self, given: Mapping[str, U], work: Callable[[GroupMember, U], T]) -> Answers[str, T]:
        """Do something with each of some proxies, all at the same time."""
        pairs = {name: (self._members[name], part) for name, part in given.items()}
        return on_all(pairs, lambda pair: work(*pair), len(pairs))


def _worst(failed: Mapping[str, DeployError]) -> DeployError:
    """Return the error that says most: what a person did, then what a proxy said, then that one is silent."""
    return min(failed.values(), key=lambda e: (not isinstance(e, TakenBack), isinstance(e, Unreachable)))


def _refuse(tried: Answers[str, Any]) -> None:
    """Raise the error that says most, if there is one."""
    if tried.failed:
        raise _worst(tried.failed)


def _is_safe(live: Live, before: Mapping[str, Live | None]) -> bool:
    """Tell whether a value gives users to nobody who had none: stable stays, or the candidate gets no more."""
    return live.share == live.baseline == 0 and all(was is None or was.stable == live.stable for was in before.values())
