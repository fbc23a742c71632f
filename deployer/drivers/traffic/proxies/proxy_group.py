"""Several proxies as one: a change is prepared on all, made on all, read back from all; else all keep what they had."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from deployer.core.clock import Clock, Deadline
from deployer.drivers.ports import Samples
from deployer.drivers.traffic.haproxy.endpoint_files import Cards
from deployer.drivers.traffic.proxies import consensus
from deployer.drivers.traffic.proxies.group_certificates import GroupCertificates
from deployer.drivers.traffic.proxies.group_division import GroupDivision
from deployer.drivers.traffic.proxies.group_inspection import GroupInspection
from deployer.drivers.traffic.proxies.group_joining import GroupJoining
from deployer.drivers.traffic.proxies.group_samples import group_samples
from deployer.drivers.traffic.proxies.group_upkeep import GroupUpkeep
from deployer.drivers.traffic.proxies.members import Members, refuse
from deployer.model import DIFFERS, Live, LostProxy, Place, Release, Server

AGAIN_SECONDS = 30.0  # after which a lost proxy is tried again while a rollout goes on


class ProxyGroup:
    """Several proxies that are one for the engine."""

    def __init__(self, members: Members, clock: Clock, cards: Cards, chain_key: str = "") -> None:
        self._members = members
        self._clock = clock
        self._cards = cards
        self._chain_key = chain_key
        self._division = GroupDivision(self._members, clock)
        self._joining = GroupJoining(self._members)
        self.certificates = GroupCertificates(self._members)
        self.inspection = GroupInspection(self, members, lambda few: ProxyGroup(few, clock, cards, chain_key), cards)
        self.upkeep = GroupUpkeep(self, members, self._joining, self.certificates, cards)
        self._tried: float | None = None  # when lost ones were tried last

    # -- what is the same on all

    def configure(self, release: Release, place: Place | None, deadline: Deadline) -> None:
        """Make all of them treat the service as the release's manifest says; one that could not is asked first."""
        service = release.service
        self.retry_lost(service, deadline)
        self._joining.welcome(service, deadline)
        self._members.all(service, lambda member: member.inspection.check(release.manifest, deadline))
        key = self._joining.key(service)
        self._members.change(service, lambda member: member.configure(release, place, deadline, key, self._chain_key))
        self._cards.write(service)

    def introduce(self, service: str, place: Place, servers: Sequence[Server], deadline: Deadline) -> None:
        """Begin the checks of new servers at each proxy."""
        self._members.change(service, lambda member: member.introduce(service, place, servers, deadline))

    def attach(self, service: str, place: Place, servers: Sequence[Server], deadline: Deadline) -> None:
        """Make the place have these servers; wait until each proxy's own checks passed."""
        self._members.change(service, lambda member: member.attach(service, place, servers, deadline))

    def drain(self, service: str, place: Place, names: Sequence[str], deadline: Deadline) -> int:
        """Send the servers no new requests, wait until none is running; return the number open at the deadline."""
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
        self._division.write(service, live, given, deadline)

    def spent(self, service: str) -> int:
        """Read how many failed responses of the candidate users have seen, at all of them together."""
        return sum(self._members.ask(service, lambda member: member.spent(service)).values())

    # -- those that are lost

    def lost(self, service: str) -> tuple[LostProxy, ...]:
        """Return the proxies that do not have what the others have."""
        return tuple(self._members.lost(service).values())

    def retry_lost(self, service: str, deadline: Deadline) -> None:
        """Bring lost proxies back, unless that was tried just now; what does not respond stays lost.

        One that responds and cannot join, as it does not reach the instances, leaves half of the time to the others.
        """
        if not self._members.spares or not self._members.away(service):
            return
        if self._tried is None or self._clock.monotonic() - self._tried >= AGAIN_SECONDS:
            self.upkeep.bring_back(service, Deadline.after(self._clock, deadline.left() / 2))
            self._tried = self._clock.monotonic()

    # -- what is asked

    def servers(self, service: str, place: Place) -> tuple[tuple[Server, bool], ...]:
        """Read the servers of the place; one is up that all find up, and gets as many at once as each gives it."""
        found = self._members.ask(service, lambda member: member.servers(service, place)).values()
        seen = [dict(each) for each in found]
        limits: dict[Server, set[int]] = {}
        for server in (server for each in seen for server in each):
            limits.setdefault(server, set()).add(server.concurrency)
        return tuple(
            (replace(server, concurrency=DIFFERS) if len(of) > 1 else server, all(e.get(server, False) for e in seen))
            for server, of in limits.items()
        )

    def preview(self, service: str) -> tuple[str, dict[str, str]]:
        """Return base URL and headers of the preview route of the first of them."""
        return next(iter(self._members.present(service).values())).preview(service)

    def samples(self, service: str) -> AbstractContextManager[Samples]:
        """Open the streams of all; they count together, so that a client that keeps its side is one."""
        return group_samples(service, self._members)
