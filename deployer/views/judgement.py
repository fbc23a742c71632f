"""What a policy decided on a recording, for people."""

from __future__ import annotations

from collections.abc import Callable

from deployer.planning.steps import percent
from deployer.views.data import JudgementView, StageView
from deployer.views.text import columns, duration, one_line, plural
from deployer.views.watches import HEADS, cells

Ink = Callable[[str, str], str]
DECISIONS = {"worse": ("✗", "red"), "passes": ("✓", "green"), "inconclusive": ("?", "yellow")}


def judgement(view: JudgementView, _: float, ink: Ink) -> list[str]:
    """Return the decision first, then what led to it."""
    sign, style = DECISIONS[view.decision]
    of = f", rollout {view.rollout}" if view.rollout else ""
    out = [f"{ink(f'{sign} {view.decision}', style)}  {one_line(view.text)}", f"  {_where(view)}", ""]
    heads = ("share", "outcome", "after", *HEADS)
    rows = [[ink(head, "dim") for head in heads]]
    for stage in view.stages:
        rows += _stage(stage, ink)
    out += columns(rows, right=range(4, 10))
    out += ["", f"{ink('judged', 'dim')}: {one_line(view.file)} ({one_line(view.service)}{of})"]
    under = "; ".join(view.changed) if view.changed else "as recorded"
    out.append(f"{ink('policy', 'dim')}: {one_line(under)}")
    return out + [f"{ink('note', 'dim')}: {one_line(note)}" for note in view.notes]


def _where(view: JudgementView) -> str:
    bad = f"users had seen {plural(view.seen, 'failed response')} of the candidate by then"
    return f"after {duration(view.at)}, at {percent(view.share)}, {plural(view.answers, 'response')}; {bad}"


def _stage(stage: StageView, ink: Ink) -> list[list[str]]:
    outcome = ink(stage.outcome, DECISIONS[stage.outcome][1])
    if stage.outcome == "passes":
        outcome += " (no worse)" if stage.proved else " (no regression found)"
    return [
        [percent(stage.share), outcome, duration(stage.after), *cells("candidate", stage.candidate)],
        ["", "", "", *cells("stable", stage.stable)],
    ]
