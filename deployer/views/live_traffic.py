"""The traffic part of the live page: who gets how much, and what both sides answered."""

from __future__ import annotations

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from deployer.planning.steps import percent
from deployer.views import text as write
from deployer.views.palette import CANDIDATE, SIDES, STABLE
from deployer.views.state import Look, SideState, ViewState

BAR = 24  # columns
NARROW = 68  # columns under which the table drops what matters least
FULL = 10000  # basis points


def traffic_lines(state: ViewState) -> list[tuple[str, Text]]:
    """Draw the share as a labelled bar, asked beside measured, and what it has cost; nothing before the first users."""
    if state.share is None:
        return []
    if state.promoted:
        return [("users", Text.assemble("all on ", (write.release(state.release, state.version), "bold")))]
    measured = "" if state.measured is None else f" · {write.actual(state.measured)}"
    baseline = f" · baseline {percent(state.baseline)}" if state.baseline else ""
    shown = state.share if state.measured is None else state.measured
    share = Text.assemble(_bar(shown), f"  {percent(state.share)} target{measured}{baseline}")
    return [("share", share), *_cost(state)]


def _cost(state: ViewState) -> list[tuple[str, Text]]:
    cost = state.cost
    if cost is None:
        return []
    lines = []
    if cost.budget:
        near = "bold red" if cost.over else "yellow" if 2 * cost.spent >= cost.budget else ""
        ended = ": the proxy gives the candidate no more users" if cost.over else ""
        lines.append(("budget", Text(f"users saw {write.spent(cost.spent, cost.budget)}{ended}", near)))
    if cost.shielded:
        lines.append(("shield", Text(write.shielded(cost.shielded))))
    return lines


def sides_table(state: ViewState, width: int) -> RenderableType | None:
    """Draw requests, errors and latency of both sides since the watch began; a narrow page leaves out the rate."""
    if not state.looks:
        return None
    narrow = width < NARROW
    table = Table(box=None, pad_edge=False, padding=(0, 1 if narrow else 2, 0, 0), header_style="dim")
    table.add_column("", no_wrap=True)
    for name in ("responses", *(() if narrow else ("per s",)), "failed", "rate", "p50", "p99"):
        table.add_column(name, justify="right", no_wrap=True)
    for role, release in (("stable", state.origin), ("candidate", state.release)):
        look = state.looks[-1]
        cells = _cells(
            getattr(look, role), _rate(state.looks, role), _alarm(state, look) if role == "candidate" else ""
        )
        label = Text.assemble(("■ ", SIDES[role].rich), role, (f" r{release}" if release else "", "dim"))
        table.add_row(label, *(cells[:1] + cells[2:] if narrow else cells))
    if state.lost:
        table.add_row(Text("not seen", "yellow"), Text(write.count(state.lost), "yellow"))
    return table


def _alarm(state: ViewState, look: Look) -> str:
    """Return the style of the candidate's failures: red once it is bad, yellow while it fails more than stable."""
    if (state.cost and state.cost.over) or (state.verdict and state.verdict.verdict == "worse"):
        return "bold red"
    more = look.candidate.errors * max(look.stable.requests, 1) > look.stable.errors * look.candidate.requests
    return "yellow" if more else ""


def _cells(side: SideState, rate: float | None, bad: str) -> list[Text]:
    return [
        Text(write.count(side.requests)),
        Text(write.rate(rate), "dim"),
        Text(write.count(side.errors), bad),
        Text(write.part(side.errors, side.requests), bad),
        Text(write.latency(side.p50)),
        Text(write.latency(side.p99)),
    ]


def _rate(looks: tuple[Look, ...], side: str) -> float | None:
    """Measure requests per second over the kept looks; None until there are two."""
    first, last = looks[0], looks[-1]
    if last.at <= first.at:
        return None
    more: int = getattr(last, side).requests - getattr(first, side).requests
    return more / (last.at - first.at)


def _bar(share: float) -> Text:
    """Draw the candidate's part from the left; any share above nothing is at least visible."""
    halves = round(2 * BAR * share / FULL)
    halves = min(max(halves, 1 if share > 0 else 0), 2 * BAR - (1 if share < FULL else 0))
    full, half = divmod(halves, 2)
    bar = Text("━" * full + "╸" * half, CANDIDATE.rich)
    return bar.append("━" * (BAR - full - half), STABLE.rich + " dim")
