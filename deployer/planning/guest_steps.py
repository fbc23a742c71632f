"""Steps by which the owner of a host gets back what guests use: processors at once, memory a little later."""

from __future__ import annotations

from dataclasses import dataclass

from deployer.planning.steps import Colour, Step, Stop, span


@dataclass(frozen=True, kw_only=True)
class Freeze(Step):
    """The instances of the colour get no processor time; they keep their memory."""

    release: int
    colour: Colour

    def explain(self) -> str:
        """Return in one sentence what will be so afterwards."""
        return f"freeze r{self.release} ({self.colour}): its processors are free at once"


@dataclass(frozen=True, kw_only=True)
class Evict(Stop):
    """All instances of the colour are stopped and removed, whoever uses them; each has `grace` to end.

    They stay away `until` a moment; 0 is until somebody lets them in, or until there is room where the keeper did it.
    """

    outage: bool = True
    until: float = 0.0

    def explain(self) -> str:
        """Return in one sentence what will be so afterwards."""
        return f"evict r{self.release} ({self.colour}); each instance has {span(self.grace)} to end, users get 503"
