"""What both sides answered in a watch, as views show it."""

from __future__ import annotations

from typing import Any

from deployer.model import FULL, Counts, Sample


class Tally:
    """Both sides since a watch began, as views show them."""

    def __init__(self) -> None:
        self.sum = Sample(Counts(), Counts(), 0)

    def add(self, sample: Sample) -> None:
        """Count what was answered since the last look."""
        had = self.sum
        self.sum = Sample(
            had.stable + sample.stable,
            had.candidate + sample.candidate,
            sample.share,
            lost=had.lost + sample.lost,
            rest=had.rest + sample.rest,
            shielded=had.shielded + sample.shielded,
        )

    def event(self, share: int) -> dict[str, Any]:
        """Give the data of a `sample` event."""
        seen = self.sum
        total = seen.stable.requests + seen.candidate.requests + seen.rest.requests
        return {
            "share_asked": share,
            "share_measured": round(seen.candidate.requests / total * FULL) if total else None,
            "stable": _side(seen.stable),
            "candidate": _side(seen.candidate),
            "rest": _side(seen.rest),
            "lost": seen.lost,
            "shielded": seen.shielded,
        }


def _side(counts: Counts) -> dict[str, Any]:
    p50, p99 = counts.quantile(0.5), counts.quantile(0.99)
    return {
        "requests": counts.requests,
        "errors": counts.errors,
        "p50": None if p50 is None else round(p50, 2),
        "p99": None if p99 is None else round(p99, 2),
    }
