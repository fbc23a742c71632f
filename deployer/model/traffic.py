"""What the proxy does for a service, and what it has of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from deployer.model.places import FULL, Colour, Place, other

DIFFERS = -1  # requests that an instance gets at once: another number of each of several proxies


@dataclass(frozen=True)
class Server:
    """An instance as the proxy knows it, and how many requests it gets at once.

    0 is for as many as come, or not known, and `DIFFERS` where not each of several proxies gives it as many.
    """

    name: str
    address: str
    concurrency: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Live:
    """What the proxy does for a service now: one value, written and read as a whole.

    `share` is the candidate's part in basis points; the candidate is the colour that is not `stable`. `lease` is
    when the share runs out by itself, Unix seconds, 0 for never. `rollout` salts the sticky rolls. At `budget` bad
    responses of the candidate seen by users in this rollout the share ends by itself; 0 is no budget. `baseline` is the
    part of the traffic, in basis points, that goes to the fresh instances of the stable release. `warm` is the release
    that stands ready in the other colour, so that going back to it is one write; 0 is none.

    `token` is that of the lock under which it was written, 0 for none. It says who may write after that, and nothing
    of what the proxy does: values that differ in it alone are equal.
    """

    stable: Colour
    share: int = 0
    lease: int = 0
    rollout: int = 0
    budget: int = 0
    baseline: int = 0
    warm: int = 0
    token: int = field(default=0, compare=False, repr=False)

    @property
    def candidate(self) -> Colour:
        """The colour on trial."""
        return other(self.stable)

    @property
    def used(self) -> tuple[Place, ...]:
        """The places that get users."""
        parts: tuple[tuple[Place, bool], ...] = (
            (self.stable, self.share + self.baseline < FULL),
            (self.candidate, self.share > 0),
            ("baseline", self.baseline > 0),
        )
        return tuple(place for place, needed in parts if needed)

    def explain(self) -> str:
        """Return it in words."""
        share = f", {self.share} bp to {self.candidate}" if self.share else ""
        beside = f", {self.baseline} bp to the baseline" if self.baseline else ""
        return f"rollout {self.rollout}: stable is {self.stable}{share}{beside}"


CLOCKS = 3.0  # seconds by which a lease may end later at a proxy: its clock, and whole seconds


@dataclass(frozen=True)
class LostProxy:
    """One of several proxies that a rollout goes on without: it has not what the others have, and may still serve.

    It has one of `values`, as far as is known: those it had, and what it may have got while it was lost. Instances that
    it may send users to are kept until `kept_until`, and no longer.
    """

    name: str
    why: str
    since: float
    values: tuple[Live, ...]
    kept_until: float

    def sends_to(self, place: Place) -> float:
        """Return until when it may send users to a place, Unix seconds; 0 where it does not.

        The share of a candidate ends by its lease; where users are on stable, nothing ends that but `kept_until`.
        """
        return min(self.kept_until, max((_until(live, place) for live in self.values), default=0.0))


def _until(live: Live, place: Place) -> float:
    if place == live.stable:
        return math.inf
    if place not in live.used:
        return 0.0
    return live.lease + CLOCKS if live.lease else math.inf


@dataclass(frozen=True)
class MeasuredTraffic:
    """What users ask of a service: requests a second on average over the last `seconds`, and in the last second.

    A proxy counts over its reloads, for an hour at most before the last one.
    """

    rate: float
    seconds: float
    now: float

    def __add__(self, more: MeasuredTraffic) -> MeasuredTraffic:
        """Return the traffic of two proxies together; the average is that of the shorter time."""
        return MeasuredTraffic(self.rate + more.rate, min(self.seconds, more.seconds), self.now + more.now)


# Before the first deploy: the first environment is the blue one.
INITIAL = Live(stable="green")


def taken_back(given: Live | None, now: Live | None) -> bool:
    """Return whether somebody ended, at the proxy, the share that a rollout had given its candidate.

    A lease that is over and a budget that is spent leave the share standing in the value; an emergency does not. After
    a promotion there is no share either, but stable is the other colour.
    """
    if given is None or now is None or not given.share:
        return False
    return (now.stable, now.share, now.rollout) == (given.stable, 0, given.rollout)


def moved_at_proxy(before: Live, now: Live) -> bool:
    """Return whether an emergency makes one value of the other: users are rolled back, or on the warm release."""
    warm = bool(before.warm) and not before.share and not before.baseline
    gone_back = replace(before, stable=before.candidate, lease=0, warm=0)
    return taken_back(before, now) or (warm and now == gone_back)
