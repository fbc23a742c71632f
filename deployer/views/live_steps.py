"""The steps part of the live page: what is done, what runs, what waits, what failed and why."""

from __future__ import annotations

from rich import box
from rich.console import RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from deployer.views.state import StepLine, Task, ViewState
from deployer.views.text import duration, plural

SIGNS = {
    "waiting": ("○", "dim"),
    "running": ("●", "bold cyan"),
    "done": ("✓", "green"),
    "failed": ("✗", "bold red"),
    "stopped": ("–", "yellow"),
}
TEXTS = {"waiting": "dim", "running": "bold", "done": "", "failed": "bold", "stopped": ""}
TASKS = {"ok": "green", "changed": "yellow", "failed": "bold red", "unreachable": "bold red", "skipped": "dim"}


def steps_block(state: ViewState, now: float, *, compact: bool) -> RenderableType | None:
    """Draw both ways; `compact` folds what is done and what waits into a line each."""
    if not state.forward and not state.back:
        return None
    grid = Table.grid(expand=True, padding=(0, 1, 0, 0))
    grid.add_column(width=1)
    grid.add_column(ratio=1)
    grid.add_column(justify="right", no_wrap=True)
    held = state.ending is not None and state.ending.outcome == "paused"
    # after the turn the steps that were still to come are no news any more
    forward = [s for s in state.forward if not (state.turned and s.state == "waiting")]
    _add(grid, forward, state, now, compact, held=held)
    _add_failure(grid, state, back=False)
    if state.turned:
        grid.add_row(Text("↩", "bold yellow"), Text("rollback steps", "bold yellow"), "")
        _add(grid, list(state.back), state, now, compact, held=held)
        _add_failure(grid, state, back=True)
    return grid


def log_panel(state: ViewState, *, lines: int) -> RenderableType | None:
    """Draw the last lines that the failing instance wrote."""
    if state.failure is None or not state.failure.log:
        return None
    log = Text("\n".join(state.failure.log[-lines:]), no_wrap=True, overflow="ellipsis")
    return Panel(
        log,
        title="last lines of the instance",
        title_align="left",
        border_style="red",
        box=box.ROUNDED,
        padding=(0, 1),
    )


def _add(grid: Table, steps: list[StepLine], state: ViewState, now: float, compact: bool, *, held: bool) -> None:
    done = [s for s in steps if s.state == "done"]
    waiting = [s for s in steps if s.state == "waiting"]
    if compact and len(done) > 1:
        took = duration(sum(s.seconds for s in done))
        grid.add_row(_sign("done"), Text(f"{plural(len(done), 'step')} done"), Text(took, "dim"))
        steps = [s for s in steps if s.state != "done"]
    if compact and len(waiting) > 1:
        steps = [s for s in steps if s.state != "waiting"]
    for step in steps:
        _add_step(grid, step, state, now, held=held)
    if compact and len(waiting) > 1:
        grid.add_row(_sign("waiting"), Text(f"{plural(len(waiting), 'step')} to go", "dim"), "")


def _add_failure(grid: Table, state: ViewState, *, back: bool) -> None:
    """Add below its rollback what went wrong and what to do about it."""
    failure = state.failure
    if failure is None or failure.back != back or not failure.error:
        return
    grid.add_row("", Text(failure.error, "red", overflow="fold"), "")
    if failure.hint:
        grid.add_row("", Text(f"→ {failure.hint}", overflow="fold"), "")


def _add_step(grid: Table, step: StepLine, state: ViewState, now: float, *, held: bool) -> None:
    open_end = step.state in ("running", "failed")
    text = Text(step.text, TEXTS[step.state], no_wrap=not open_end, overflow="fold" if open_end else "ellipsis")
    sign = Text("‖", "bold cyan") if held and step.state == "running" else _sign(step.state)
    grid.add_row(sign, text, _time(step, now, held=held))
    if step.state == "running" and step.progress:
        grid.add_row("", Text(step.progress, "dim", overflow="fold"), "")
    if step.plays and open_end:
        for task in state.tasks:
            grid.add_row("", _task(task), "")


def _task(task: Task) -> Text:
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(f"{task.status:<9}", TASKS.get(task.status, ""))
    line.append(f" {task.task}").append(f"  {task.host}", "dim")
    if task.message and task.status in ("failed", "unreachable"):
        line.append(f"  {task.message}", "red")
    return line


def _sign(state: str) -> Text:
    return Text(*SIGNS[state])


def _time(step: StepLine, now: float, *, held: bool) -> Text:
    if step.state in ("done", "failed"):
        return Text(duration(step.seconds), "dim")
    if step.state == "running" and held:
        return Text("paused", "bold cyan")
    if step.state == "running" and step.as_needed:
        return Text("as needed", "cyan")
    if step.state == "running" and step.until:
        left = step.until - now
        if step.kind == "watch" and left <= 0 and step.progress:
            return Text("waiting", "yellow")
        told = duration(round(left)) if left >= 10 else f"{max(round(left), 0)} s"
        return Text(f"{told} left" if step.kind == "watch" else f"≤ {told}", "cyan")
    return Text()
