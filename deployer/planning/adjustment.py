"""What an adjustment does between two rollouts: the live release gets the instances that it should have. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from deployer.core import later
from deployer.core.clock import stamp
from deployer.core.errors import Refused
from deployer.model import COLOURS, DIFFERS, Colour, Environment, Observed, Release, Server, spread
from deployer.planning.orders import EVICT, KEEP, SLEEP

if TYPE_CHECKING:
    from deployer.planning import guest_steps, recipes, steps
    from deployer.planning import plan as plans
    from deployer.planning.plan import Plan
    from deployer.planning.steps import Step
else:  # mostly there is nothing to do, and no step is made
    guest_steps, plans, recipes, steps = (
        later.module(f"deployer.planning.{name}") for name in ("guest_steps", "plan", "recipes", "steps")
    )

FREEZE_SECONDS = 30.0


@dataclass(frozen=True)
class Kept:
    """An environment that is kept warm, and until when."""

    release: int
    colour: Colour
    until: float


def refuse_unclear(observed: Observed, release: Release) -> None:
    """Raise Refused where it is not clear that users are on a release, and on all of it: nothing is adjusted then."""
    live, service = observed.live, observed.service
    if live is None:
        raise Refused(f"the proxy does not know {service}", "`deploy doctor` says what is missing")
    there = observed.environment(live.stable)
    if there is not None and there.release != release.number:
        raise Refused(
            f"users of {service} are on r{there.release}, and r{release.number} is recorded as live",
            "`deploy resume` records where they are",
        )
    if live.share or live.baseline:
        raise Refused(f"a candidate of {service} has a share, and no rollout is in progress", "`deploy doctor --fix`")


def adjustment(
    observed: Observed,
    release: Release,
    known: Mapping[str, Server],
    kept: Kept | None,
    now: float,
    occasion: str = KEEP,
) -> Plan | None:
    """Plan what brings the live release to what it should be; None where nothing is to be done.

    Instances that do not run, or that the proxy does not know where they are (it has those `known`, by name), are
    started and attached; all are attached where the proxy does not give each as many requests at once as it should.
    Those above its size are removed one at a time, and so is an environment that was kept warm until now. Hosts that
    are silent are left alone, and what sleeps, unless a person wants a size or `scale.hours` have begun. Raise Refused
    where it is not clear what is live.
    """
    refuse_unclear(observed, release)
    found = _Found.of(observed, release, known)
    asleep, scale = found.colour in observed.asleep and not release.scaled, release.manifest.scale
    until = scale.awake_until(now) if asleep and scale else 0.0
    woken = f"{release.name} sleeps, and is to be awake until {stamp(until)} (`scale.hours`)" if until else ""
    own = () if asleep and not until else (found.more(woken) or found.limited(), found.fewer())
    parts = (*own, over(observed, release, kept, now))
    way = tuple(step for part in parts for step in part.way)
    back = tuple(step for part in parts for step in part.back)
    why = tuple(text for part in parts for text in part.why)
    return plans.Plan.adjusting(release.service, occasion, release.number, way, back, why) if way else None


def may_come_back(observed: Observed, release: Release, known: Mapping[str, Server]) -> bool:
    """Return whether all that is missing stands and does not run: its engine may be about to start it again.

    What is gone, or runs where the proxy does not know it, is not changed by waiting.
    """
    found = _Found.of(observed, release, known)
    return bool(found.missing) and set(found.missing) <= set(found.ended)


def falling_asleep(observed: Observed, release: Release, why: str) -> Plan | None:
    """Plan that the live release sleeps until the next request; None where it does already, or is more than one.

    On the way back it is awake. Raise Refused where it is not clear what is live.
    """
    refuse_unclear(observed, release)
    colour = observed.live.stable if observed.live else "blue"
    there = observed.environment(colour)
    if colour in observed.asleep or there is None or len(there.instances) != 1 or not there.healthy():
        return None
    back = (*recipes.start_on(release, colour, 1, 0), *recipes.attach(release, colour))
    way = (recipes.put_to_sleep(release, colour),)
    return plans.Plan.adjusting(release.service, SLEEP, release.number, way, back, (why,))


def evicting(observed: Observed, release: Release, grace: float, until: float, why: str) -> Plan:
    """Plan that nothing of a guest runs: all of it is frozen first, then each instance has `grace` to end.

    It stays away `until` a moment (`Evict`), also where nothing of it stands now. On the way back what stood runs.
    """
    live = observed.live.stable if observed.live else "blue"
    if not (way := _leaving(observed, grace, until)):
        deadline = grace + recipes.SLACK_SECONDS + recipes.PROXY_SECONDS
        stays = guest_steps.Evict(release=release.number, colour=live, grace=grace, until=until, deadline=deadline)
        return plans.Plan.adjusting(release.service, EVICT, release.number, (stays,), (), (why,))
    started = recipes.start_on(release, live, release.size(live), len(observed.silent))
    back = (*started, *recipes.attach(release, live, partial=True))
    return plans.Plan.adjusting(release.service, EVICT, release.number, way, back, (why,))


def staying_away(observed: Observed, release: Release) -> Plan | None:
    """Plan that what still stands of a guest goes that was evicted: its host was silent then. None for nothing."""
    way = _leaving(observed, release.manifest.stop.grace, 0.0)
    why = f"something of {release.name} runs, which was evicted"
    return plans.Plan.adjusting(release.service, KEEP, release.number, way, (), (why,)) if way else None


def _leaving(observed: Observed, grace: float, until: float) -> tuple[Step, ...]:
    """Return the steps by which all that stands goes."""
    there = [(colour, e) for colour in COLOURS if (e := observed.environment(colour))]
    frozen = (guest_steps.Freeze(release=e.release, colour=colour, deadline=FREEZE_SECONDS) for colour, e in there)
    deadline = grace + recipes.SLACK_SECONDS + recipes.PROXY_SECONDS
    gone = (
        guest_steps.Evict(release=e.release, colour=colour, grace=grace, until=until, deadline=deadline)
        for colour, e in there
    )
    return (*frozen, *gone)


def admitting(plan: Plan, observed: Observed, grace: float) -> Plan:
    """Return a plan by which an evicted guest runs again; on the way back nothing of it does."""
    live = observed.live.stable if observed.live else "blue"
    deadline = grace + recipes.SLACK_SECONDS + recipes.PROXY_SECONDS
    return replace(plan, back=(guest_steps.Evict(release=plan.release, colour=live, grace=grace, deadline=deadline),))


@dataclass(frozen=True)
class AdjustmentPart:
    """A part of an adjustment: the way there, the way back, and why."""

    way: tuple[Step, ...] = ()
    back: tuple[Step, ...] = ()
    why: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Return whether there is anything to do."""
        return bool(self.way)


@dataclass(frozen=True)
class _Found:
    """What runs of the live release, beside what should."""

    release: Release
    colour: Colour
    size: int
    highest: int  # index that stands
    missing: tuple[int, ...]
    ended: tuple[int, ...]  # that stand and do not run
    silent: tuple[str, ...]
    limits: tuple[int, ...]  # requests at once that the proxy gives an instance, where it does not give what it should

    @classmethod
    def of(cls, observed: Observed, release: Release, known: Mapping[str, Server]) -> _Found:
        colour = observed.live.stable if observed.live else "blue"
        there: Environment | None = observed.environment(colour)
        instances = there.instances if there else ()
        there_up = [i for i in instances if i.state == "running"]
        ended = tuple(i.index for i in instances if i not in there_up)
        at = {name: server.address for name, server in known.items()}
        running = {i.index for i in there_up if at.get(i.name) == i.address or not release.served}
        each = release.scale.each if release.scale else 0
        limits = {server.concurrency for server in known.values()} - {0, each} if each else set[int]()
        hosts, size = release.host_names(colour), release.size(colour)
        wanted = spread(colour, size, hosts)
        missing = tuple(n for n, host in wanted.items() if n not in running and host not in observed.silent)
        hidden = (n for n, host in wanted.items() if host in observed.silent)
        highest = max((*(i.index for i in instances), *hidden), default=0)
        silent = tuple(h for h in hosts if h in observed.silent)
        return cls(release, colour, size, highest, missing, ended, silent, tuple(sorted(limits)))

    def more(self, why: str = "") -> AdjustmentPart:
        """Start what is missing. On the way back what stood before stays, whatever becomes of the others."""
        if not self.missing:
            return AdjustmentPart()
        partial = bool(self.silent)
        way = (
            *recipes.start_on(self.release, self.colour, self.size, len(self.silent)),
            *recipes.attach(self.release, self.colour, partial=partial),
        )
        back = (self._only(self.highest),) if 0 < self.highest < self.size else ()
        return AdjustmentPart(way, back, (why,) if why else tuple(self._said()))

    def limited(self) -> AdjustmentPart:
        """Have the proxy give each instance as many requests at once as it should, where it gives another number."""
        if not (self.limits and self.highest and self.release.scale):
            return AdjustmentPart()
        number = "of each proxy another number of" if self.limits[0] == DIFFERS else self.limits[0]
        gets = f"an instance of {self.release.name} gets {number} requests at once"
        way = recipes.attach(self.release, self.colour, partial=bool(self.silent))
        return AdjustmentPart(way, (), (f"{gets}, {self.release.scale.each} are wanted",))

    def fewer(self) -> AdjustmentPart:
        """Remove what is too many, one at a time. On the way back nothing is half gone, and what stays gets users."""
        surplus = range(self.highest - 1, self.size - 1, -1)
        if not surplus:
            return AdjustmentPart()
        back = (self._only(self.highest), *recipes.attach(self.release, self.colour, partial=bool(self.silent)))
        are = "is" if self.size == 1 else "are"
        why = f"{self.release.name} has {self.highest} instances, {self.size} {are} wanted"
        return AdjustmentPart(tuple(self._only(left) for left in surplus), back, (why,))

    def _only(self, first: int) -> Step:
        return recipes.remove(self.release.manifest, self.colour, self.release.number, keep=first)

    def _said(self) -> Iterator[str]:
        lost = [f"{self.release.service}-r{self.release.number}-{n}" for n in self.missing if n <= self.highest]
        if lost:
            do = "does not run or gets" if len(lost) == 1 else "do not run or get"
            yield f"{steps.named(tuple(lost))} of {self.release.name} {do} no users"
        if len(lost) < len(self.missing):
            here = f"{self.highest or 'no'} instance{'s' * (self.highest != 1)}"
            yield f"{self.release.name} has {here}, {self.size} {'is' if self.size == 1 else 'are'} wanted"


def over(observed: Observed, release: Release, kept: Kept | None, now: float) -> AdjustmentPart:
    """Remove what was kept warm until now and still stands, where users are on another environment."""
    if kept is None or kept.until > now or observed.live is None or kept.colour == observed.live.stable:
        return AdjustmentPart()
    there = observed.environment(kept.colour)
    if there is None or there.release != kept.release:
        return AdjustmentPart()
    highest = max(i.index for i in there.instances)
    way = recipes.remove(release.manifest, kept.colour, kept.release)
    back = recipes.remove(release.manifest, kept.colour, kept.release, keep=highest)  # nothing is half gone
    return AdjustmentPart((way,), (back,), (f"the time is over for which r{kept.release} was kept warm",))
