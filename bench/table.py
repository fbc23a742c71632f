"""Many outcomes as one row, and rows as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from bench.match import Outcome
from bench.scenarios import SCENARIOS


@dataclass(frozen=True)
class Row:
    """One judge in one scenario. `requests`, `seconds`: median and 95th percentile where it took the candidate back.

    `aborted` counts rollouts, `early` those of them before there was a fault; `harm` is the median of bad answers, of
    all rollouts.
    """

    scenario: str
    judge: str
    rollouts: int
    aborted: int
    early: int
    requests: tuple[float, float] | None
    seconds: tuple[float, float] | None
    harm: float


def summed_up(scenario: str, judge: str, outcomes: Sequence[Outcome]) -> Row:
    """Make the row of one judge in one scenario."""
    found = [o for o in outcomes if o.aborted and not o.early]
    return Row(
        scenario,
        judge,
        len(outcomes),
        sum(o.aborted for o in outcomes),
        sum(o.early for o in outcomes),
        _spread([o.requests for o in found]),
        _spread([o.seconds for o in found]),
        quantile([o.harm for o in outcomes], 0.5),
    )


def quantile(values: Sequence[float], q: float) -> float:
    """Give the smallest value that at least the part `q` of them does not exceed."""
    return sorted(values)[max(0, math.ceil(q * len(values)) - 1)]


def _spread(values: Sequence[float]) -> tuple[float, float] | None:
    return (quantile(values, 0.5), quantile(values, 0.95)) if values else None


_HEADS = ("judge", "aborted", "requests", "seconds", "bad answers")


def written(rows: Sequence[Row], *, markdown: bool = False) -> str:
    """Give the rows as a table for a terminal, or for a document."""
    blocks = [(name, list(block)) for name, block in groupby(rows, key=lambda row: row.scenario)]
    return "\n".join(_for_documents(blocks) if markdown else _for_terminals(blocks))


def _for_documents(blocks: Sequence[tuple[str, list[Row]]]) -> list[str]:
    heads = ("scenario", *_HEADS)
    lines = [_piped(heads), _piped(["---"] * len(heads))]
    for name, rows in blocks:
        for first, row in zip([f"**{name}**: {_about(name)}"] + [""] * (len(rows) - 1), rows, strict=True):
            lines.append(_piped((first, *_cells(row))))
    return lines


def _piped(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _for_terminals(blocks: Sequence[tuple[str, list[Row]]]) -> list[str]:
    cells = [_cells(row) for _, rows in blocks for row in rows]
    widths = [max(len(row[k]) for row in [*cells, _HEADS]) for k in range(len(_HEADS))]
    lines = [
        "  ".join([_HEADS[0].ljust(widths[0]), *(h.rjust(w) for h, w in zip(_HEADS[1:], widths[1:], strict=True))])
    ]
    for name, rows in blocks:
        lines += ["", f"{name}: {_about(name)}"]
        for first, *rest in map(_cells, rows):
            lines.append(
                "  ".join([first.ljust(widths[0]), *(c.rjust(w) for c, w in zip(rest, widths[1:], strict=True))])
            )
    return lines


def _about(name: str) -> str:
    return SCENARIOS[name].about if name in SCENARIOS else "a recording"


def _cells(row: Row) -> tuple[str, ...]:
    aborted = f"{100 * row.aborted / row.rollouts:.0f} %"
    if row.early:
        aborted += f" ({100 * row.early / row.rollouts:.0f} % early)"
    return row.judge, aborted, _pair(row.requests, ",.0f"), _pair(row.seconds, ",.4g"), f"{row.harm:,.0f}"


def _pair(values: tuple[float, float] | None, style: str) -> str:
    return "-" if values is None else f"{values[0]:{style}} / {values[1]:{style}}"
