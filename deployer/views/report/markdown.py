"""The report for a pull request: Markdown with the cause first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from deployer.planning.steps import percent
from deployer.views.data import WatchView
from deployer.views.report.data import ReportView
from deployer.views.report.headline import headline, tiles
from deployer.views.text import clean, duration, moment, one_line, release, verdict
from deployer.views.watches import HEADS, cells

_SPECIAL = str.maketrans({char: f"\\{char}" for char in "\\`*_{}[]<>|#~"})


def markdown(view: ReportView) -> str:
    """Write the report."""
    return "\n\n".join(_blocks(view)) + "\n"


def _blocks(view: ReportView) -> Iterator[str]:
    row = view.rollout
    yield f"## {escaped(view.service)}: {escaped(headline(view))}"
    if view.cause:
        yield f"**Why:** {escaped(view.cause)}" + (f"\n\n→ {escaped(view.remedy)}" if view.remedy and row.exit else "")
    for kind, words in view.trips:
        yield f"**{kind.capitalize()}:** {escaped(words)}"
    yield "\n".join(
        f"- **{escaped(t.value)}** {escaped(t.name)}{f' ({t.note})' if t.note else ''}" for t in tiles(view)
    )
    origin = release(row.origin, view.origin_version) if row.origin else "first deploy"
    name = release(row.release, row.version)
    way = f"{row.strategy} {name if row.origin == row.release else f'{origin} → {name}'}"
    ended = f"{row.outcome}, exit {row.exit}" if row.outcome else "in progress"
    yield f"Rollout {row.number}, {escaped(way)}, {ended}, {moment(row.started_at)}, by {escaped(row.by)}"
    if view.watches:
        yield _table(
            ("share", "took", *HEADS, "verdict"),
            [cells for watch in view.watches for cells in _watch(watch)],
        )
    steps = [(f"{s.phase} {s.n + 1}", s.state, duration(s.seconds) if s.at else "", s.text) for s in view.steps]
    yield f"<details><summary>Steps</summary>\n\n{_table(('step', 'state', 'took', 'what'), steps)}\n\n</details>"
    if view.log:
        yield f"<details><summary>Last lines of the instance</summary>\n\n{_code(view.log)}\n\n</details>"


def _watch(watch: WatchView) -> Iterator[Sequence[str]]:
    word = verdict(watch.verdict, watch.enough)
    yield percent(watch.share), duration(watch.seconds), *cells("candidate", watch.candidate), word
    yield "", "", *cells("stable", watch.stable), ""


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [" | ".join(heads), " | ".join("---" for _ in heads)]
    lines += [" | ".join(escaped(cell) for cell in row) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def _code(lines: Sequence[str]) -> str:
    text = "\n".join(clean(line) for line in lines)
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}\n{text}\n{fence}"


def escaped(text: str) -> str:
    """Return text as one line in which nothing is Markdown."""
    return one_line(text).translate(_SPECIAL)
