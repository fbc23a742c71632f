"""Where services of one chain are in a set: who is the entry, and in which order the others open and end. Pure.

The entry alone draws sides. So that no request has the candidate in one service and stable in another, those behind it
have a share before the entry has one, all users are on the entry's candidate before any of them is promoted, and they
are promoted from the innermost to the entry. On the way back the entry is first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from deployer.core.errors import Refused
from deployer.model import FULL, other
from deployer.planning.meeting import SETTLED, Meet
from deployer.planning.plan import ROLLBACK, Plan
from deployer.planning.recipes import share
from deployer.planning.steps import Attach, Remove, Share, Step, named

if TYPE_CHECKING:
    from deployer.model import Release

DRAWS = (
    "a request without a side gets a side of this service's own, whatever its caller's is;"
    " `traffic.chain.without_side: stable` keeps all of the chain the same"
)
ORDER_SECONDS = 60.0  # for the promotions of others, or their way back, beside what requests get to end


@dataclass(frozen=True)
class ChainPlace:
    """The place of a service in the chain of a set: `depth` is 0 for an entry, from which the others are reached.

    `inner` are the services that are promoted before this one, `outer` the entries, which go back before it. `drain` is
    how many seconds requests get that began before users were moved. One that `draws` gives a side of its own to
    requests that carry none.
    """

    chain: str
    depth: int
    inner: tuple[str, ...]
    outer: tuple[str, ...]
    drain: float
    draws: bool = False


def chain_places(releases: Iterable[Release]) -> dict[str, ChainPlace]:
    """Return the places of those services of a set that are in a chain with its entry and at least one more."""
    links = {
        release.service: (release.manifest.traffic.chain, release.manifest.stop.drain)
        for release in releases
        if release.served and release.manifest.traffic.chain and release.manifest.traffic.mode == "http"
    }
    made: dict[str, ChainPlace] = {}
    for name in sorted({chain.name for chain, _ in links.values() if chain}):
        callers = {s: chain.callers for s, (chain, _) in links.items() if chain and chain.name == name}
        depths = _depths(callers)
        outer = tuple(sorted(s for s, depth in depths.items() if not depth))
        for service, depth in depths.items() if len(depths) > 1 else ():
            inner = tuple(sorted(s for s, deeper in depths.items() if deeper > depth))
            chain, drain = links[service]
            draws = bool(depth and chain and chain.without_side == "draw")
            made[service] = ChainPlace(name, depth, inner, outer if depth else (), drain, draws)
    return made


def _depths(callers: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Return how far each service is from an entry, by the longest way; those that none reaches are left out."""
    depths = {service: 0 for service, named in callers.items() if not named}
    for _ in callers:  # a way without a ring is no longer than this
        for service, by in callers.items():
            if known := [depths[caller] for caller in by if caller in depths]:
                depths[service] = min(max(known) + 1, len(callers))
    return depths


def refuse_parted(places: Mapping[str, ChainPlace], groups: Sequence[Sequence[str]]) -> None:
    """Raise Refused where `order` gives users to services of one chain one after the other."""
    group_of = {service: n for n, group in enumerate(groups) for service in group}
    for chain in sorted({place.chain for place in places.values()}):
        services = tuple(sorted(service for service, place in places.items() if place.chain == chain))
        if len({group_of.get(service, 0) for service in services}) > 1:
            raise Refused(
                f"{named(services)} are in the chain {chain}, whose users have one side in all of them: `order` gives"
                " these users one after the other",
                "put them in one group of `order`",
            )


def with_full_share(plan: Plan, place: ChainPlace) -> Plan:
    """Have the candidate of a chain get all users before it is promoted, where its plan does not say so."""
    if place.draws:
        plan = replace(plan, notes=(*plan.notes, DRAWS))
    before = plan.forward[: plan.commit]
    last = next((step.share for step in reversed(before) if isinstance(step, Share)), 0)
    stops = any(isinstance(step, Remove) and step.outage for step in before)
    if last == FULL or not plan.origin or stops or not any(isinstance(step, Attach) for step in before):
        return plan
    return replace(plan, forward=(*before, share(FULL), *plan.forward[plan.commit :]))


def ended_before(place: ChainPlace, plan: Plan) -> Iterator[Step]:
    """Return the gate of an entry before the promotions: what began on the release that users have left has ended."""
    if not place.depth and plan.origin:
        watched = 0 if plan.strategy == ROLLBACK else FULL  # what was live before is not judged
        yield Meet(at=0, others=(), then="", empty=other(plan.colour), share=watched, deadline=max(place.drain, 1.0))


def promoted_before(place: ChainPlace) -> Iterator[Step]:
    """Return the gate before the promotion of a service of a chain: those behind it are promoted."""
    if place.inner:
        yield Meet(at=SETTLED, others=place.inner, then="promoted", deadline=place.drain + ORDER_SECONDS)


def back_in_order(place: ChainPlace, plan: Plan, slowest: float) -> Plan:
    """Have a service behind the entry go back when that has: no request comes stamped for its candidate any more."""
    if place.outer:
        gate = Meet(at=SETTLED, others=place.outer, then="rolled back", deadline=slowest)
        return replace(plan, back=(gate, *plan.back))
    if not plan.origin or any(isinstance(step, Remove) for step in plan.back):
        return plan  # what is removed is drained by that
    gate = Meet(at=0, others=(), then="", empty=plan.colour, deadline=max(place.drain, 1.0))
    return replace(plan, back=(*plan.back, gate))
