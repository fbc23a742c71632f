"""How many instances ran when, from the steps that changed it, and what that comes to. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from deployer.planning.steps import Promote, Remove, Start, Step

SIZING = ("start", "remove", "stop", "evict", "promote")  # kinds of steps that change what runs, or which is live


@dataclass(frozen=True)
class SizingStep:
    """A step of `SIZING` that was tried: when it began, and when it was `done` (0: it was not)."""

    step: Step
    began: float
    done: float


@dataclass(frozen=True)
class InstanceSpan:
    """So many instances of a release ran for a time; `live` where users were on them, else beside those."""

    release: int
    instances: int
    began: float
    ended: float
    live: bool

    @property
    def seconds(self) -> float:
        """Instance-seconds."""
        return self.instances * (self.ended - self.began)

    def within(self, since: float, until: float) -> InstanceSpan | None:
        """Return the part of it between two moments; None where there is none."""
        began, ended = max(self.began, since), min(self.ended, until)
        return InstanceSpan(self.release, self.instances, began, ended, self.live) if began < ended else None


@dataclass(frozen=True)
class Slept:
    """A service was asleep for so many seconds of the time that begins at a moment."""

    at: float
    seconds: float


@dataclass
class Usage:
    """What a release comes to, in instance-seconds.

    `beside` ran while users were on another release: twins, baselines, what was kept warm. `unscaled` would have run
    in addition with as many instances as `scale.max`, and `slept` without sleep.
    """

    ran: float = 0.0
    beside: float = 0.0
    unscaled: float = 0.0
    slept: float = 0.0


@dataclass
class _World:
    places: dict[str, tuple[int, int]] = field(default_factory=dict)  # release and number of instances
    live: str = ""

    def apply(self, step: Step) -> None:
        """Take what a step changed: a start by its beginning, others by their end."""
        if isinstance(step, Start):
            release, there = self.places.get(step.colour, (0, 0))
            self.places[step.colour] = step.release, max(step.instances, there if release == step.release else 0)
        elif isinstance(step, Remove):
            release, there = self.places.get(step.colour, (0, 0))
            if step.release in (0, release):
                self.places[step.colour] = release, min(there, step.keep)
        elif isinstance(step, Promote):
            self.live = step.colour


def running(steps: Iterable[SizingStep], emptied: Iterable[float], until: float) -> Iterator[InstanceSpan]:
    """Yield what ran, from the steps of a service; it was taken down at the moments of `emptied`."""
    moments: list[tuple[float, int, SizingStep | None]] = []
    for number, each in enumerate(steps):
        if at := each.began if isinstance(each.step, Start) else each.done:
            moments.append((at, number, each))
    moments += [(at, -1, None) for at in emptied]
    world, before = _World(), 0.0
    for at, _, done in sorted(moments, key=lambda moment: moment[:2]):
        yield from _between(world, before, min(at, until))
        before = at
        if done is None:
            world = _World()
        else:
            world.apply(done.step)
    yield from _between(world, before, until)


def _between(world: _World, began: float, ended: float) -> Iterator[InstanceSpan]:
    if began < ended:
        for place, (release, instances) in world.places.items():
            if instances:
                yield InstanceSpan(release, instances, began, ended, place == world.live)


def usage(
    ran: Iterable[InstanceSpan], slept: Iterable[Slept], most: Mapping[int, int], since: float, until: float
) -> dict[int, Usage]:
    """Return what each release comes to between two moments; `most` has the `scale.max` of those with one."""
    found: dict[int, Usage] = {}
    live = []
    for whole in ran:
        if (part := whole.within(since, until)) is None:
            continue
        release = found.setdefault(part.release, Usage())
        release.ran += part.seconds
        if not part.live:
            release.beside += part.seconds
            continue
        live.append(part)
        if part.release in most:
            release.unscaled += max(0, most[part.release] - part.instances) * (part.ended - part.began)
    place = 0
    for sleep in sorted(slept, key=lambda each: each.at):
        while place < len(live) and live[place].ended <= sleep.at:
            place += 1
        if place < len(live) and since <= sleep.at < until:
            release = found[live[place].release]
            seconds = min(sleep.seconds, release.ran)
            release.ran -= seconds
            release.slept += seconds
    return found
