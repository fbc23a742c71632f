"""What a service cost, from its journal and from what the keeper saw of its load."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from deployer.app.operations import AppContext
from deployer.app.queries import drivers_of
from deployer.core.errors import Refused
from deployer.model.load import SLOT_SECONDS
from deployer.planning.usage import Slept, running, usage
from deployer.store.loads import SeenLoads
from deployer.views.cost_data import CostView, LoadPoint, ReleaseCost

HOUR = 3600.0
MOST_POINTS = 700  # of a plot


def cost(house: AppContext, service: str, since: float, until: float) -> CostView:
    """Return what a service cost between two moments, of which the second may be yet to come. Raise Refused."""
    drivers_of(house, service)
    store, until = house.store, min(until, house.clock.now())
    if since >= until:
        why = "has not begun yet" if since else "is empty"
        raise Refused(f"the time asked for {why}", "name an earlier one")
    seen = store.loads.of(service, since, until)
    releases = {release.number: release for release in store.releases.of(service)}
    most = {number: scale.max for number, r in releases.items() if (scale := r.manifest.scale) is not None}
    slept = [Slept(each.at, each.asleep) for each in seen if each.asleep]
    ran = running(store.journal.sizing(service), store.audit_log.moments(service, "down"), until)
    found = usage(ran, slept, most, since, until)
    room, busy = sum(each.room for each in seen), sum(each.busy for each in seen)
    return CostView(
        service=service,
        since=since,
        until=until,
        releases=tuple(
            ReleaseCost(
                number,
                releases[number].version if number in releases else "",
                each.ran / HOUR,
                each.beside / HOUR,
                each.unscaled / HOUR,
                each.slept / HOUR,
            )
            for number, each in sorted(found.items(), reverse=True)
        ),
        idle=max(0.0, 1 - busy / room) if room else None,
        seen=sum(each.seconds for each in seen),
        load=tuple(_points(seen, since, until)),
    )


def _points(seen: Sequence[SeenLoads], since: float, until: float) -> Iterator[LoadPoint]:
    """Yield what was seen, in longer spans where there would be too many points."""
    span = SLOT_SECONDS * max(1.0, (until - since) // (SLOT_SECONDS * MOST_POINTS) + 1)
    for at, some in groupby(seen, key=lambda each: each.at // span * span):
        rows = list(some)
        seconds = sum(each.seconds for each in rows)
        yield LoadPoint(
            at=at,
            seconds=seconds,
            instances=sum(each.instances for each in rows) / seconds,
            room=sum(each.room for each in rows) / seconds,
            busy=sum(each.busy for each in rows) / seconds,
            peak=max(each.peak for each in rows),
            asleep=sum(each.asleep for each in rows) / seconds,
        )
