"""The tables of a report: real text, that can be read aloud, searched and copied."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from deployer.planning.steps import percent
from deployer.views.data import JournalRow, SideView, WatchView
from deployer.views.numbers import numbers
from deployer.views.report import times
from deployer.views.report.data import RatePoint, ReportView
from deployer.views.report.markup import Content, Markup, tag, text
from deployer.views.text import duration, latency, plural, verdict
from deployer.views.watches import HEADS, cells

SIGNS = {"done": "✓", "failed": "✗", "tried": "…", "waiting": "–"}
_NOTHING = ("", "–")
KINDS = {"worse": "bad", "inconclusive": "open", "no worse": "good"}


def table(heads: Sequence[str], rows: Iterable[Sequence[Content]], numeric: Sequence[int] = ()) -> Markup:
    """Make a table; columns `numeric` are aligned to the right, columns without any content are left out.

    It scrolls by itself where the page is narrow.
    """
    written = [[text(words) for words in row] for row in rows]
    kept = [at for at in range(len(heads)) if not written or any(row[at] not in _NOTHING for row in written)]

    def cell(name: str, at: int, content: Content) -> Markup:
        return tag(name, content, class_="n" if at in numeric else None, scope="col" if name == "th" else None)

    head = tag("thead", tag("tr", [cell("th", at, heads[at]) for at in kept]))
    body = tag("tbody", [tag("tr", [cell("td", at, row[at]) for at in kept]) for row in written])
    return tag("div", tag("table", head, body), class_="scroll", tabindex="0")


def watches(view: ReportView) -> Markup | None:
    """Both sides in each watch, and what the judge said at its end."""
    if not view.watches:
        return None
    heads = ("share", "took", *HEADS, "verdict")
    rows: list[Sequence[Content]] = []
    for watch in view.watches:
        rows.append([percent(watch.share), duration(watch.seconds), *_side("candidate", watch.candidate), _chip(watch)])
        rows.append(["", "", *_side("stable", watch.stable), ""])
    return table(heads, rows, numeric=range(3, 9))


def _side(name: str, side: SideView) -> list[Content]:
    _, *numbers = cells(name, side)
    return [text(tag("i", class_=f"swatch {name}"), name), *numbers]


def verdicts(view: ReportView) -> list[Markup]:
    """The last verdict of each watch: its sentence, and its values beside their limits."""
    return [_verdict(watch) for watch in view.watches if watch.text]


def _chip(watch: WatchView) -> Markup:
    word = verdict(watch.verdict, watch.enough)
    return tag("span", word or "–", class_=f"chip {KINDS.get(word, '')}")


def _verdict(watch: WatchView) -> Markup:
    rows = [(n.name, n.value, n.limit or "–") for n in numbers(watch.values)]
    told = tag("p", _chip(watch), tag("b", f" at {percent(watch.share)} "), watch.text)
    if not rows:
        return told
    return tag(
        "details", tag("summary", told), table(("value", "measured", "limit"), rows, numeric=(1, 2)), class_="verdict"
    )


def metrics(view: ReportView) -> Markup | None:
    """What metrics from elsewhere said last."""
    if not view.metrics:
        return None
    rows: list[Sequence[Content]] = []
    for metric in view.metrics:
        kind = "" if metric.dry_run else KINDS.get(metric.verdict, "")
        values = [f"{v:.4g}" if v is not None else "–" for v in (metric.candidate, metric.stable, metric.limit)]
        name = f"{metric.name}{' (dry run)' if metric.dry_run else ''}"
        rows.append([name, tag("span", metric.verdict, class_=f"chip {kind}"), *values, metric.text])
    return table(("metric", "verdict", "candidate", "stable", "limit", "why"), rows, numeric=(2, 3, 4))


def steps(view: ReportView) -> Markup:
    """The journal: what was done, what failed, what was not reached."""
    rows: list[Sequence[Content]] = []
    turned = any(step.phase == "back" for step in view.steps)
    missed = [step for step in view.steps if turned and step.phase == "forward" and step.state == "waiting"]
    for step in view.steps:
        if step in missed:
            if step is missed[0]:
                rows.append([f"{step.n + 1}…", "", "", "", f"{plural(len(missed), 'step')} not reached"])
            continue
        took = duration(step.seconds) if step.state in ("done", "failed") else ""
        way = "back " if step.phase == "back" else ""
        rows.append([f"{way}{step.n + 1}", _state(step), _offset(view, step.at), took, _told(step)])
    return table(("step", "state", "at", "took", "what"), rows, numeric=(2, 3))


def _state(step: JournalRow) -> Markup:
    kind = {"done": "good", "failed": "bad", "tried": "open"}.get(step.state, "")
    return tag("span", f"{SIGNS.get(step.state, '·')} {step.state}", class_=f"chip {kind}")


def _told(step: JournalRow) -> Content:
    return [step.text, tag("div", step.error, class_="error") if step.error else None]


def timeline(view: ReportView) -> Markup:
    """Everything that is kept of the rollout, with the share in force."""
    if not view.served:
        told = [(times.clock(line.at), _offset(view, line.at), line.text) for line in view.timeline]
        return table(("time", "after", "what happened"), told, numeric=(1,))
    rows = [(times.clock(line.at), _offset(view, line.at), percent(line.share), line.text) for line in view.timeline]
    return table(("time", "after", "share", "what happened"), rows, numeric=(1, 2))


def instances(view: ReportView) -> Markup | None:
    """The instances, with the addresses at which users reached them."""
    if not view.instances:
        return None
    if not view.served:
        return table(("name",), [(each.name,) for each in view.instances])
    return table(("name", "address"), [(each.name, each.address) for each in view.instances])


def _offset(view: ReportView, at: float) -> str:
    return f"+{duration(max(at - view.rollout.started_at, 0))}" if at else "–"


def numbers_of_plots(view: ReportView, most: int = 60) -> Markup | None:
    """What the plots show, as text: every so many points where there are more than `most`."""
    if not view.points:
        return None
    begin = view.points[0].at
    every = -(-len(view.points) // most)
    rows = [
        (
            f"+{duration(p.at - begin)}",
            percent(p.share),
            *_rate(p.candidate),
            *_rate(p.stable),
            latency(p.candidate.p99),
            latency(p.stable.p99),
        )
        for p in view.points[::every]
    ]
    heads = ("time", "share", "candidate bad", "band", "stable bad", "band", "candidate p99", "stable p99")
    return table(heads, rows, numeric=range(8))


def _rate(side: RatePoint) -> tuple[str, str]:
    if not side.watch_requests:
        return "–", "–"
    return f"{side.watch_errors:,} of {side.watch_requests:,}", f"{100 * side.low:.2g}–{100 * side.high:.2g}%"


def facts(rows: Iterable[tuple[str, Content]]) -> Markup:
    """A list of what is what."""
    return tag("dl", [tag("div", tag("dt", name), tag("dd", value)) for name, value in rows], class_="facts")


def policy(data: Mapping[str, Any], path: str = "") -> Iterable[tuple[str, str]]:
    """Write a section of a manifest as dotted keys with their values."""
    for key, value in data.items():
        listed = isinstance(value, list | tuple)
        if isinstance(value, Mapping):
            yield from policy(value, f"{path}{key}.")
        elif listed and any(isinstance(one, Mapping) for one in value):
            for number, one in enumerate(value, 1):
                yield from policy(one, f"{path}{key} {number}.")
        elif not listed or value:
            yield f"{path}{key}", ", ".join(map(str, value)) if listed else _plain(value)


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
