"""What is tolerated of a candidate, beside what stable does."""

from __future__ import annotations

from dataclasses import dataclass

from deployer.model import FULL


@dataclass(frozen=True)
class Margin:
    """`ratio` times stable's value, or `add` more than it, whichever is more; in the unit of the value."""

    ratio: float
    add: float

    def of(self, value: float) -> float:
        """Return what is tolerated of the candidate where stable has `value`."""
        return max(self.ratio * value, value + self.add)

    def before(self, share: int) -> Margin:
        """Return the margin that must be kept before the candidate gets `share` of the traffic (basis points).

        The harm to the whole service at that share may not exceed what the margin allows when everybody is on the
        candidate. So a small share asks for little proof, and all users for all of it.
        """
        scale = FULL / share
        return Margin(1 + (self.ratio - 1) * scale, self.add * scale)
