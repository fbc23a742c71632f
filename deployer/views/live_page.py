"""The live view as one page: view state and time in, rich renderable out; no I/O, no memory."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.constrain import Constrain
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from deployer.views.live_steps import log_panel, steps_block
from deployer.views.live_traffic import sides_table, traffic_lines
from deployer.views.palette import CANDIDATE
from deployer.views.state import ProofView, StepLine, VerdictView, ViewState
from deployer.views.text import duration, release, shown, stopwatch

PROOF_BAR = 16  # columns
WIDEST = 110  # longer lines are hard to read, whatever the terminal offers
VERDICTS = {
    "worse": ("✗", "bold red"),
    "no worse": ("✓", "bold green"),
    "no regression found": ("·", "bold"),
    "inconclusive": ("?", "bold yellow"),
}
ENDINGS = {
    "done": ("✓", "bold green"),
    "reverted": ("↩", "bold yellow"),
    "paused": ("‖", "bold cyan"),
    "needs-attention": ("!", "bold red"),
}


def render(state: ViewState, now: float, width: int, *, compact: bool = False) -> RenderableType:
    """Draw the page for a terminal of `width` columns; `compact` folds finished steps and drops blank lines."""
    blocks: list[RenderableType | None] = [
        _header(state, now),
        steps_block(state, now, compact=compact),
        log_panel(state, lines=5 if compact else 15),
        sides_table(state, width),
        _facts(state, now),
        _ending(state),
    ]
    shown = [block for block in blocks if block is not None]
    spaced = shown if compact else [piece for block in shown for piece in (block, Text())][:-1]
    return Constrain(Padding(Group(*spaced), (0, 1), expand=False), min(width, WIDEST))


def _header(state: ViewState, now: float) -> RenderableType:
    ended = state.ending.at if state.ending else now
    names = Text(state.service, "bold", no_wrap=True, overflow="ellipsis")
    if state.release:
        names.append("  ")
        if state.origin != state.release:  # else it leaves what is live
            names.append(f"{release(state.origin)} → " if state.origin else "first deploy: ", "not bold dim")
        names.append(release(state.release, state.version), f"bold {CANDIDATE.rich}")
    about = [state.strategy, f"rollout {state.rollout}" if state.rollout else "", f"by {state.by}" if state.by else ""]
    grid = Table.grid(expand=True, padding=(0, 2, 0, 0))
    grid.add_column(ratio=1)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_row(names, Text(stopwatch(ended - state.started) if state.started else "", "bold"))
    grid.add_row(Text(" · ".join(filter(None, about)), "dim", no_wrap=True, overflow="ellipsis"), "")
    return grid


def _facts(state: ViewState, now: float) -> RenderableType | None:
    """Draw the labelled lines: share, verdict, notes, what happens next."""
    lines = traffic_lines(state)
    if state.proof and state.verdict is None and state.ending is None:  # a verdict has the same numbers
        lines.append(("proof", _proof(state.proof)))
    if state.verdict and not _said_above(state, state.verdict):
        lines.append(("verdict", _verdict(state.verdict)))
    for number, (name, says) in enumerate(state.metrics):
        lines.append(("" if number else "metrics", Text.assemble((name, "bold"), "  ", _verdict(says))))
    lines += [("note", Text(note, "dim")) for note in state.notes]
    if state.activity and state.ending is None:
        lines.append(("now", Text(state.activity)))
    following = next_text(state, now)
    if following:
        lines.append(("next", following))
    if not lines:
        return None
    grid = Table.grid(expand=True, padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True, width=7)
    grid.add_column(ratio=1, overflow="fold")
    for label, line in lines:
        grid.add_row(label, line)
    return grid


def _said_above(state: ViewState, verdict: VerdictView) -> bool:
    """Return whether the step that failed has said it already."""
    return state.failure is not None and bool(verdict.text) and verdict.text in state.failure.error


def _proof(proof: ProofView) -> Text:
    filled = round(PROOF_BAR * proof.shown)
    bar = Text().append("━" * filled, "green").append("━" * (PROOF_BAR - filled), "dim")
    return bar.append(f"  {shown(proof.shown, proof.more, proof.unit)}")


def _verdict(verdict: VerdictView) -> Text:
    sign, style = VERDICTS.get(verdict.verdict, ("·", "bold"))
    yet = " so far" if verdict.verdict == "inconclusive" else ""
    return Text.assemble((f"{sign} {verdict.verdict}{yet}", style), f"  {verdict.text}")


def next_text(state: ViewState, now: float) -> Text | None:
    """Return what happens next and when, or what a person has to do; nothing once the rollout has ended."""
    if state.ending:
        if state.ending.outcome != "paused":
            return None
        return Text.assemble(("deploy promote", "bold"), "  to go on, or  ", ("deploy abort", "bold"), "  to roll back")
    running, waiting = state.running, state.waiting
    if running is None and waiting is None:
        return None
    following = waiting.text if waiting else ("the rollout has gone back" if state.turned else "the rollout is done")
    return Text.assemble(following, (_when(running, now), "dim"))


def _when(running: StepLine | None, now: float) -> str:
    """Return the end of the step in progress: a time, or what has to be shown."""
    if running is None or not running.until:
        return ""
    overdue = running.kind == "watch" and bool(running.progress)
    left = round((running.limit if running.as_needed or overdue else running.until) - now)
    if left <= 0:
        return ""
    if not (running.as_needed or overdue):
        return f" · in at most {duration(left)}"
    return f" · once {'it is shown' if running.as_needed else 'that has come'}, within {duration(left)}"


def _ending(state: ViewState) -> RenderableType | None:
    ending = state.ending
    if ending is None:
        return None
    sign, style = ENDINGS.get(ending.outcome, ("·", "bold"))
    took = f" after {duration(ending.at - state.started)}" if ending.at and state.started else ""
    code = f" (exit {ending.exit})" if ending.exit else ""
    return Text.assemble(
        (f"{sign} {ending.outcome}{took}", style), (code, "dim"), f"  {ending.text}" if ending.text else ""
    )
