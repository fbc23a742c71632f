"""Several proxies as one: a change is prepared on all, made on all, read back from all; else all keep what they had."""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING

from deployer.core.clock import Clock, Deadline, stamp
from deployer.core.errors import Refused
from deployer.drivers.ports import NOTHING, Drift, Samples, TrafficCare
from deployer.drivers.traffic.haproxy.endpoint_files import Cards
from deployer.drivers.traffic.proxies import consensus
from deployer.drivers.traffic.proxies.group_certificates import GroupCertificates
from deployer.drivers.traffic.proxies.group_division import GroupDivision
from deployer.drivers.traffic.proxies.group_joining import GroupJoining
from deployer.drivers.traffic.proxies.group_samples import group_samples
from deployer.drivers.traffic.proxies.members import EVERY, Members, refuse
from deployer.model import Live, Load, LostProxy, MeasuredTraffic, Place, Release, Server

if TYPE_CHECKING:
    from deployer.manifest.models import Manifest


AGAIN_SECONDS = 30.0  # after which a lost proxy is tried again while a rollout goes on


class ProxyGroup:
    """Several proxies that are one for the engine."""

    def __init__(self, members: Members, clock: Clock, cards: Cards) -> None:
        self._members = members
        self._clock = clock
        self._cards = cards
        self._division = GroupDivision(self._members, clock)
        self._joining = GroupJoining(self._members)
        self.certificates = GroupCertificates(self._members)
        self._tried: float | None = None  # when lost ones were tried last

    # -- what is the same on all

    def check(self, manifest: Manifest, deadline: Deadline) -> None:
        """Raise Refused when one of them could not do what the manifest says; nothing is changed by it."""
        proxies, budget, several = manifest.traffic.proxies, manifest.traffic.budget, len(self._members.names)
        if (proxies.min or 0) > several:
            raise Refused(
                f"traffic.proxies.min: {proxies.min} proxies are needed, and {proxies.hosts} has {several}",
                f"{several} or fewer",
            )
        if budget and budget.answers < several:
            raise Refused(
                f"traffic.budget: {budget.answers} cannot be divided among {several} proxies",
                f"{several} or more, or false",
            )
        self._members.all(manifest.service, lambda member: member.check(manifest, deadline))

    def configure(self, release: Release, place: Place | None, deadline: Deadline) -> None:
        """Make all of them treat the service as the release's manifest says; one that could not is asked first."""
        service = release.service
        self._try_again(service, deadline)
        self._joining.welcome(service, deadline)
        self._members.all(service, lambda member: member.check(release.manifest, deadline))
        key = self._joining.key(service)
        self._members.change(service, lambda member: member.configure(release, place, deadline, key))
        self._cards.write(service)

    def introduce(self, service: str, place: Place, servers: Sequence[Server], deadline: Deadline) -> None:
        """Begin the checks of new servers at each proxy."""
        self._members.change(service, lambda member: member.introduce(service, place, servers, deadline))

    def attach(self, service: str, place: Place, servers: Sequence[Server], deadline: Deadline) -> None:
        """Make the place have these servers; wait until each proxy's own checks passed."""
        self._members.change(service, lambda member: member.attach(service, place, servers, deadline))

    def drain(self, service: str, place: Place, names: Sequence[str], deadline: Deadline) -> int:
        """Give the servers no new requests, wait until none is running; give the number open at the deadline."""
        return sum(self._members.change(service, lambda m: m.drain(service, place, names, deadline)).values())

    def hand_over(self, service: str, place: Place, part: float, deadline: Deadline) -> int:
        """Close this part of the WebSockets and tcp sessions that are open at the place, at each of them."""
        return sum(self._members.change(service, lambda m: m.hand_over(service, place, part, deadline)).values())

    def detach(self, service: str, place: Place, names: Sequence[str], deadline: Deadline) -> None:
        """Make all of them forget the servers."""
        self._members.change(service, lambda member: member.detach(service, place, names, deadline))

    def forget(self, service: str, deadline: Deadline) -> None:
        """Remove the service from all of them, lost ones too."""
        refuse(self._members.tried(self._members.every, lambda member: member.forget(service, deadline)))
        self._members.are_back(service, self._members.names)
        self._cards.remove(service)

    # -- the live value

    def read(self, service: str) -> Live | None:
        """Read what they do now; None when none of them knows the service.

        Where they differ, a change did not come to its end: see `consensus.one`. One that does not know the service yet
        has no say, nor has a lost one; `configure`, `repair` and `bring_back` bring it in.
        """
        values = self._members.values(service)
        return consensus.one(values) if values else None

    def set_traffic(self, service: str, live: Live, deadline: Deadline, given: Live | None = None) -> None:
        """Write the value to all, and read it back; where one cannot take it, the others get back what they had.

        But not on the way back to stable, which is the safe direction: there every proxy goes that can, and the error
        is raised afterwards.
        """
        back = not live.share and not live.baseline
        if not back and not _renews(given, live):
            self._try_again(service, deadline)
        self._division.write(service, live, given, deadline)
        if back:
            self._try_again(service, deadline)

    def spent(self, service: str) -> int:
        """Read how many failed responses of the candidate users have seen, at all of them together."""
        return sum(self._members.all(service, lambda member: member.spent(service)).values())

    # -- those that are lost

    def lost(self, service: str) -> tuple[LostProxy, ...]:
        """Return the proxies that do not have what the others have."""
        return tuple(self._members.lost(service).values())

    def bring_back(self, service: str, deadline: Deadline) -> tuple[str, ...]:
        """Bring lost proxies that respond again to where the others are; return the names of those that are now."""
        return self._joining.bring_back(service, self.certificates.given, deadline)

    def _try_again(self, service: str, deadline: Deadline) -> None:
        """Bring lost proxies back, unless that was tried just now; what does not respond stays lost."""
        if not self._members.spares or not self._members.away(service):
            return
        if self._tried is None or self._clock.monotonic() - self._tried >= AGAIN_SECONDS:
            self.bring_back(service, deadline)
            self._tried = self._clock.monotonic()

    # -- while something is done to their hosts

    def take_out(self, proxies: Collection[str], deadline: Deadline) -> int:
        """Have some take no new connections, and wait until no request is open there; return how many still are."""
        out = self._members.tried(self._members.some(proxies), lambda member: member.close_entries(deadline))
        return sum(out.all().values())

    def put_back(self, proxies: Collection[str], deadline: Deadline) -> None:
        """Have them take new connections again."""
        self._members.tried(self._members.some(proxies), lambda member: member.open_entries(deadline)).all()

    # -- what is asked

    def load(self, service: str) -> Mapping[Place, Load]:
        """Return what is open at each place, at all of them together."""
        seen = self._members.all(service, lambda member: member.load(service)).values()
        places = dict.fromkeys(place for found in seen for place in found)
        return {place: sum((found.get(place, Load()) for found in seen), Load()) for place in places}

    def measured(self, service: str) -> MeasuredTraffic | None:
        """Return how many requests come to all of them together; None where one of them does not say."""
        seen = list(self._members.all(service, lambda member: member.measured(service)).values())
        known = [traffic for traffic in seen if traffic]
        return reduce(operator.add, known) if known and len(known) == len(seen) else None

    def servers(self, service: str, place: Place) -> tuple[tuple[Server, bool], ...]:
        """Read the servers of the place; one is up that all find up."""
        found = self._members.all(service, lambda member: member.servers(service, place)).values()
        seen = [dict(each) for each in found]
        every = dict.fromkeys(server for each in seen for server in each)
        return tuple((server, all(each.get(server, False) for each in seen)) for server in every)

    def preview(self, service: str) -> tuple[str, dict[str, str]]:
        """Return base URL and headers of the preview route of the first of them."""
        return next(iter(self._members.present(service).values())).preview(service)

    def samples(self, service: str) -> AbstractContextManager[Samples]:
        """Open the streams of all; they count together, so that a client that keeps its side is one."""
        return group_samples(service, self._members)

    def reachable(self) -> tuple[TrafficCare, Mapping[str, str]]:
        """Return the driver of those that answer now, and why the others do not; of all of them where none does."""
        tried = self._members.tried(self._members.every, lambda member: member.services())
        if not (tried.failed and tried.ok):
            return self, {}
        there = ProxyGroup(self._members.only(tried.ok), self._clock, self._cards)
        return there, {name: error.message for name, error in tried.failed.items()}

    def services(self) -> tuple[str, ...]:
        """Name the services that any of them knows."""
        found = self._members.all(EVERY, lambda member: member.services()).values()
        return tuple(sorted({name for each in found for name in each}))

    # -- what is wrong

    def drift(self, service: str) -> tuple[Drift, ...]:
        """Compare files and workers of each, and all of them with each other."""
        tried = self._members.tried(self._members.left(service), lambda member: member.drift(service))
        found = [replace(f, text=f"{name}: {f.text}") for name, faults in tried.ok.items() for f in faults]
        found += [Drift(error.message, repairable=False, remedy=error.hint) for error in tried.failed.values()]
        lost = self._members.lost(service)
        found += self._of_lost(service, {name: one for name, one in lost.items() if name not in tried.failed})
        if not tried.failed:
            values = self._members.values(service)
            found += _differences(service, values, [*tried.ok])
            if values and not self._cards.right(service):
                found.append(Drift(f"the emergency card of {service} is missing or wrong: going back takes longer"))
        return tuple(found)

    def _of_lost(self, service: str, lost: Mapping[str, LostProxy]) -> Iterator[Drift]:
        """Say of each lost proxy whether it can be brought back now."""
        tried = self._members.tried(self._members.some(lost), lambda member: member.read(service))
        for name, one in lost.items():
            text = f"{name} is lost since {stamp(one.since)}, and does not have what the others have"
            if name in tried.ok:
                yield Drift(f"{text}; it responds again")
            else:
                yield Drift(f"{text}: {tried.failed[name].message}", repairable=False, remedy=tried.failed[name].hint)

    def repair(self, service: str, deadline: Deadline, lost: Mapping[str, Live] = NOTHING) -> None:
        """Make files and workers of each agree, and all of them with each other.

        What one has lost the others have; what all have lost is that of `lost`. Lost proxies that respond are brought
        back.
        """
        there = self._members.tried(self._members.left(service), lambda member: member.read(service))
        known = {name: live for name, live in there.ok.items() if live is not None}
        agreed = {**lost, **({service: consensus.joining(known)} if known else {})}
        broken = dict.fromkeys((*known, *there.failed), agreed)
        repaired = self._members.each(broken, lambda member, given: member.repair(service, deadline, given))
        self._members.enough(service, repaired)
        self.bring_back(service, deadline)
        self._joining.welcome(service, deadline)
        values = self._members.values(service)
        if consensus.differing(values):
            one = consensus.one(values)
            self.set_traffic(service, one if one.share else replace(one, budget=0), deadline)
        if not self._members.spares:  # none of them was left out: all that was lost is here
            self._members.are_back(service, values)
        if values:
            self._cards.write(service)


def _renews(given: Live | None, live: Live) -> bool:
    """Tell whether a value only prolongs what was given before."""
    return given is not None and replace(given, lease=live.lease, budget=live.budget) == live


def _differences(service: str, values: Mapping[str, Live], names: Sequence[str]) -> Iterator[Drift]:
    yield from (Drift(f"{name} has {has}, others do not") for name, has in consensus.differing(values).items())
    if values:
        yield from (Drift(f"{name} does not know {service}") for name in names if name not in values)
