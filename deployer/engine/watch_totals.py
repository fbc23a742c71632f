"""What both sides answered in a watch, as views show it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from deployer.core.response_kinds import told
from deployer.model import FULL, Counts, Sample

QUANTILES = (0.5, 0.95, 0.99)


class WatchTotals:
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
            arrived=had.arrived + sample.arrived,
        )

    def event(self, share: int) -> dict[str, Any]:
        """Return the data of a `sample` event."""
        seen = self.sum
        total = seen.stable.requests + seen.candidate.requests + seen.rest.requests
        return {
            "share_target": share,
            "share_actual": round(seen.candidate.requests / total * FULL) if total else None,
            "stable": _side(seen.stable),
            "candidate": _side(seen.candidate),
            "rest": _side(seen.rest),
            "lost": seen.lost,
            "shielded": seen.shielded,
            **({"arrived": asdict(seen.arrived)} if seen.arrived.all else {}),
        }


def _side(counts: Counts) -> dict[str, Any]:
    times = {f"p{round(100 * q)}": counts.quantile(q) for q in QUANTILES}
    return {
        "requests": counts.requests,
        "errors": counts.errors,
        **{name: None if ms is None else round(ms, 2) for name, ms in times.items()},
        **({"kinds": kinds} if (kinds := told(counts.kinds)) else {}),
    }
