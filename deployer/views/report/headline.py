"""What became of a rollout in one line, and its most important numbers."""

from __future__ import annotations

from dataclasses import dataclass

from deployer.planning.steps import percent
from deployer.views.report.data import ReportView
from deployer.views.text import count, duration, plural, release

KINDS = {"done": "good", "reverted": "open", "paused": "open", "needs-attention": "bad", "": "open"}


@dataclass(frozen=True)
class Tile:
    """A number to be seen at once, what it counts, and what stands behind it."""

    value: str
    name: str
    note: str = ""
    kind: str = ""


def headline(view: ReportView) -> str:
    """Return what became of it."""
    name = release(view.rollout.release, view.rollout.version)
    match view.rollout.outcome:
        case "done":
            return f"{name} is live for everyone" if view.served else f"{name} is live"
        case "reverted":
            return f"{name} was rolled back"
        case "paused" if not view.served:
            return f"{name} is paused"
        case "paused":
            return f"{name} is paused at {percent(view.timeline[-1].share if view.timeline else 0)}"
        case "needs-attention":
            return f"{name} needs attention"
        case _:
            share = view.timeline[-1].share if view.timeline else 0
            return f"{percent(share)} on {name}" if share else f"{name} is in progress"


def tiles(view: ReportView) -> list[Tile]:
    """Return the numbers that come first."""
    found = [Tile(duration(view.rollout.seconds), "from start to end")]
    if view.highest:
        found.append(Tile(percent(view.highest), "of users at the most"))
    if view.seen is not None:
        found.append(_seen(view, view.seen))
    if view.shielded:
        found.append(Tile(count(view.shielded), "failed responses kept from users", "stable answered instead", "good"))
    if view.answers:
        found.append(Tile(count(view.answers), "responses of the candidate were judged"))
    return found


def _seen(view: ReportView, seen: int) -> Tile:
    budget = f"of {view.budget:,} that were allowed" if view.budget else "no limit was set"
    kind = "" if not seen else "bad" if view.budget and seen >= view.budget else "open"
    return Tile(
        count(seen), f"{plural(seen, 'failed response').partition(' ')[2]} seen by users", budget, kind or "good"
    )
