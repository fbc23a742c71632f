"""What keeps several proxies right, beside a rollout."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from deployer.core.clock import Deadline
from deployer.drivers.ports import NOTHING, Traffic
from deployer.drivers.traffic.haproxy.endpoint_files import Cards
from deployer.drivers.traffic.proxies import consensus
from deployer.drivers.traffic.proxies.group_certificates import GroupCertificates
from deployer.drivers.traffic.proxies.group_joining import GroupJoining
from deployer.drivers.traffic.proxies.members import Members
from deployer.model import Live


class GroupUpkeep:
    """Repairs them and makes them agree, brings lost ones back, and takes some out while something is done to them."""

    def __init__(
        self, group: Traffic, members: Members, joining: GroupJoining, certificates: GroupCertificates, cards: Cards
    ) -> None:
        self._group, self._members, self._joining = group, members, joining
        self._certificates, self._cards = certificates, cards

    def repair(self, service: str, deadline: Deadline, lost: Mapping[str, Live] = NOTHING) -> None:
        """Make files and workers of each agree, and all of them with each other.

        What one has lost the others have; what all have lost is that of `lost`. Lost proxies that respond are brought
        back.
        """
        there = self._members.prompt.read(self._members.left(service), service)
        known = {name: live for name, live in there.ok.items() if live is not None}
        agreed = {**lost, **({service: consensus.joining(known)} if known else {})}
        broken = dict.fromkeys((*known, *there.failed), agreed)
        repaired = self._members.each(broken, lambda member, given: member.upkeep.repair(service, deadline, given))
        self._members.enough(service, repaired)
        self.bring_back(service, deadline)
        self._joining.welcome(service, deadline)
        values = self._members.values(service)
        if consensus.differing(values):
            one = consensus.one(values)
            self._group.set_traffic(service, one if one.share else replace(one, budget=0), deadline)
        if not self._members.spares:  # none of them was left out: all that was lost is here
            self._members.are_back(service, values)
        if values:
            self._cards.write(service)

    def bring_back(self, service: str, deadline: Deadline) -> tuple[str, ...]:
        """Bring lost proxies that respond again to where the others are; return the names of those that are now."""
        return self._joining.bring_back(service, self._certificates.given, deadline)

    def take_out(self, proxies: Collection[str], deadline: Deadline) -> int:
        """Have some take no new connections, and wait until no request is open there; return how many still are."""
        out = self._members.tried(self._members.some(proxies), lambda member: member.membership.close_entries(deadline))
        return sum(out.all().values())

    def put_back(self, proxies: Collection[str], deadline: Deadline) -> None:
        """Have them take new connections again."""
        self._members.tried(self._members.some(proxies), lambda member: member.membership.open_entries(deadline)).all()
