"""What was observed of a service: the facts from which strategies make a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from deployer.model.instance import Environment
from deployer.model.places import PLACES, Colour, Place
from deployer.model.release import Release
from deployer.model.traffic import INITIAL, Live


@dataclass(frozen=True)
class Observed:
    """What strategies plan on: read from the world at the time of planning.

    `stable` is the release that users are on (None before the first deploy); `blue`, `green` and `baseline` are the
    environments that stand. `silent` are the hosts that gave no answer, and why: what stands there was not seen.
    `asleep` are the places whose instances are stopped or paused until the next request, and since when.
    """

    service: str
    live: Live | None
    stable: Release | None
    blue: Environment | None = None
    green: Environment | None = None
    baseline: Environment | None = None
    silent: Mapping[str, str] = field(default_factory=dict)
    asleep: Mapping[Place, float] = field(default_factory=dict)

    @property
    def colour(self) -> Colour:
        """The colour in which a candidate goes."""
        return (self.live or INITIAL).candidate

    @property
    def standing(self) -> frozenset[Place]:
        """The places in which something stands, whether it runs or not."""
        return frozenset(place for place in PLACES if self.environment(place))

    def running(self, release: int) -> int:
        """Count the instances of a release that run, in whichever place."""
        there = (e for place in PLACES if (e := self.environment(place)) and e.release == release)
        return sum(i.state == "running" for e in there for i in e.instances)

    def environment(self, place: Place) -> Environment | None:
        """Return the environment in a place, if one stands."""
        return {"blue": self.blue, "green": self.green, "baseline": self.baseline}[place]
