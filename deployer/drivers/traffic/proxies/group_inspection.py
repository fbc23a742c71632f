"""What is asked of several proxies beside a rollout: nothing is changed by it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING

from deployer.core.clock import Deadline, stamp
from deployer.core.errors import Refused
from deployer.drivers.ports import Drift, TrafficLayer
from deployer.drivers.traffic.haproxy.endpoint_files import Cards
from deployer.drivers.traffic.proxies import consensus
from deployer.drivers.traffic.proxies.members import EVERY, Members
from deployer.model import Live, Load, LostProxy, MeasuredTraffic, Place

if TYPE_CHECKING:
    from deployer.manifest.models import Manifest


class GroupInspection:
    """Whether all can do what a manifest says, what passes through them, and whether they agree.

    `some` makes the driver of some of them.
    """

    def __init__(
        self, group: TrafficLayer, members: Members, some: Callable[[Members], TrafficLayer], cards: Cards
    ) -> None:
        self._group, self._members, self._some, self._cards = group, members, some, cards

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
        self._members.all(manifest.service, lambda member: member.inspection.check(manifest, deadline))

    def load(self, service: str) -> Mapping[Place, Load]:
        """Return what is open at each place, at all of them together."""
        seen = self._members.ask(service, lambda member: member.inspection.load(service)).values()
        places = dict.fromkeys(place for found in seen for place in found)
        return {place: sum((found.get(place, Load()) for found in seen), Load()) for place in places}

    def measured(self, service: str) -> MeasuredTraffic | None:
        """Return how many requests come to all of them together; None where one of them does not say."""
        seen = list(self._members.ask(service, lambda member: member.inspection.measured(service)).values())
        known = [traffic for traffic in seen if traffic]
        return reduce(operator.add, known) if known and len(known) == len(seen) else None

    def reachable(self) -> tuple[TrafficLayer, Mapping[str, str]]:
        """Return the driver of those that answer now, and why the others do not; of all of them where none does."""
        tried = self._members.prompt.on(self._members.every, lambda member: member.inspection.services())
        if not (tried.failed and tried.ok):
            return self._group, {}
        there = self._some(self._members.only(tried.ok))
        return there, {name: error.message for name, error in tried.failed.items()}

    def services(self) -> tuple[str, ...]:
        """Name the services that any of them knows."""
        found = self._members.ask(EVERY, lambda member: member.inspection.services()).values()
        return tuple(sorted({name for each in found for name in each}))

    def drift(self, service: str) -> tuple[Drift, ...]:
        """Compare files and workers of each, and all of them with each other."""
        tried = self._members.tried(self._members.left(service), lambda member: member.inspection.drift(service))
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
        """Yield, for each lost proxy, whether it can be brought back now."""
        tried = self._members.prompt.read(self._members.some(lost), service)
        for name, one in lost.items():
            text = f"{name} is lost since {stamp(one.since)}, and does not have what the others have"
            if name in tried.ok:
                yield Drift(f"{text}; it responds again")
            else:
                yield Drift(f"{text}: {tried.failed[name].message}", repairable=False, remedy=tried.failed[name].hint)


def _differences(service: str, values: Mapping[str, Live], names: Sequence[str]) -> Iterator[Drift]:
    yield from (Drift(f"{name} has {has}, others do not") for name, has in consensus.differing(values).items())
    if values:
        yield from (Drift(f"{name} does not know {service}") for name in names if name not in values)
