"""What policies of scaling would have done with recorded traffic, for people."""

from __future__ import annotations

from collections.abc import Callable

from deployer.views.scaling_data import ScalingReplayView, ScalingRunView
from deployer.views.text import columns, count, duration, one_line, part, plural

Ink = Callable[[str, str], str]


def replay(view: ScalingReplayView, _: float, ink: Ink) -> list[str]:
    """Return the traffic first, then a line for each policy, its oracle and the fixed size."""
    name = f"{ink(one_line(view.service), 'bold')}  " if view.service else ""
    traffic = f"{plural(view.requests, 'request')} in {duration(view.seconds)}, at most {count(view.at_once)} at once"
    heads = ("", "instances", "hours", "to oracle", "waited", "longest", "503", "changes")
    rows = [[ink(head, "dim") for head in heads], *(_row(run) for run in view.runs)]
    out = [f"{name}{traffic}", "", *columns(rows, right=range(1, 8)), ""]
    out.append(f"{ink('recording', 'dim')}: {one_line(view.file)}")
    return out + [f"{ink('note', 'dim')}: {one_line(note)}" for note in view.notes]


def _row(run: ScalingRunView) -> list[str]:
    between = f"{run.least}" if run.least == run.most else f"{run.least} to {run.most}"
    return [
        one_line(run.name),
        between,
        f"{run.hours:,.2f}",
        "–" if run.ratio is None else f"{run.ratio:.2f} ×",
        part(run.waited, run.requests) if run.waited else "0",
        duration(run.longest) if run.longest else "–",
        count(run.refused),
        count(run.changed),
    ]
