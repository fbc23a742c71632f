"""Many outcomes as one row, and rows as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from bench.match import Outcome
from bench.scenarios import SCENARIOS
from bench.traffic.world import Drift


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
    """Return the smallest value that at least the part `q` of them does not exceed."""
    return sorted(values)[max(0, math.ceil(q * len(values)) - 1)]


def _spread(values: Sequence[float]) -> tuple[float, float] | None:
    return (quantile(values, 0.5), quantile(values, 0.95)) if values else None


_HEADS = ("judge", "aborted", "requests", "seconds", "bad answers")
Blocks = Sequence[tuple[str, list[Row]]]


def written(rows: Sequence[Row], *, markdown: bool = False) -> str:
    """Return the rows as a table for a terminal, or as two for a document: nothing wrong, something wrong."""
    blocks = [(name, list(block)) for name, block in groupby(rows, key=lambda row: row.scenario)]
    return "\n".join(_for_documents(blocks) if markdown else _for_terminals(blocks))


# -- for a document: a line for each scenario, a column for each judge


def _for_documents(blocks: Blocks) -> list[str]:
    good = [(name, rows) for name, rows in blocks if name in SCENARIOS and SCENARIOS[name].fault == Drift()]
    bad = [(name, rows) for name, rows in blocks if (name, rows) not in good]
    parts = [_document(part, brief=part is good) for part in (good, bad) if part]
    return [line for number, part in enumerate(parts) for line in ([""] if number else []) + part]


def _document(blocks: Blocks, *, brief: bool) -> list[str]:
    judges = [row.judge for row in blocks[0][1]]
    lines = [_piped(["scenario", *judges]), _piped(["---"] * (1 + len(judges)))]
    return lines + [
        _piped([f"`{name}`: {_about(name)}", *(_cell(row, brief=brief) for row in rows)]) for name, rows in blocks
    ]


def _piped(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(row: Row, *, brief: bool) -> str:
    aborted, harm = _aborted(row), f"{row.harm:,.0f} bad"
    if brief:
        return aborted
    if row.requests is None:
        return f"{aborted} · {harm}"
    return f"{aborted} · {_seconds(row)} s · {_requests(row)} · **{harm}**"


# -- for a terminal: a block for each scenario, a line for each judge


def _for_terminals(blocks: Blocks) -> list[str]:
    cells = [_cells(row) for _, rows in blocks for row in rows]
    widths = [max(len(row[k]) for row in [*cells, _HEADS]) for k in range(len(_HEADS))]
    lines = [_aligned(_HEADS, widths)]
    for name, rows in blocks:
        lines += ["", f"{name}: {_about(name)}", *(_aligned(_cells(row), widths) for row in rows)]
    return lines


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join([cells[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))])


def _cells(row: Row) -> tuple[str, ...]:
    return row.judge, _aborted(row), _requests(row), _seconds(row), f"{row.harm:,.0f}"


def _about(name: str) -> str:
    return SCENARIOS[name].about if name in SCENARIOS else "a recording"


def _aborted(row: Row) -> str:
    early = f" ({100 * row.early / row.rollouts:.0f} % early)" if row.early else ""
    return f"{100 * row.aborted / row.rollouts:.0f} %{early}"


def _requests(row: Row) -> str:
    return " / ".join(f"{number:,.0f}" for number in row.requests or ()) or "-"


def _seconds(row: Row) -> str:
    return " / ".join(f"{number:,.{0 if number >= 10 else 2}f}" for number in row.seconds or ()) or "-"
