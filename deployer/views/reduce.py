"""Events in, view state out: one pure function for each kind.

Views must survive what they do not know: an unknown kind changes nothing but the time, a missing field is its default.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from deployer.core.errors import Exit
from deployer.core.events import Event
from deployer.views.state import (
    Cost,
    EndingView,
    Failure,
    Look,
    ProofView,
    SideState,
    StepLine,
    StepState,
    Task,
    VerdictView,
    ViewState,
)
from deployer.views.text import clean, one_line, verdict

RATE_WINDOW = 5.0  # seconds over which requests per second are measured
LONGEST = 999  # steps; no plan comes near
LOOKING = frozenset({"watch", "approve", "meet"})  # steps in which both sides are compared
KEPT_TASKS = 4
KEPT_NOTES = 3
KEPT_LOG = 15


def reduce(state: ViewState, event: Event) -> ViewState:
    """Return the state after the event."""
    handler = _HANDLERS.get(event.kind)
    if handler is not None:
        state = handler(state, event)
    return replace(
        state,
        service=event.service or state.service,
        rollout=event.rollout or state.rollout,
        started=state.started or event.at,
        seen=max(state.seen, event.at),
    )


def reduce_all(events: Iterable[Event], state: ViewState | None = None) -> ViewState:
    """Return the state after all events."""
    state = state or ViewState()
    for event in events:
        state = reduce(state, event)
    return state


def _started(state: ViewState, event: Event) -> ViewState:
    data = event.data
    return ViewState(
        release=int(data.get("release", 0)),
        version=one_line(data.get("version", "")),
        origin=int(data.get("origin", 0)),
        strategy=one_line(data.get("strategy", "")),
        by=one_line(data.get("by", "")),
        started=event.at,
        forward=tuple(StepLine(one_line(text)) for text in data.get("steps", ())),
        notes=state.notes,
    )


def _resumed(state: ViewState, event: Event) -> ViewState:
    back = event.data.get("phase") == "back"
    note = f"{'rolled back' if back else 'resumed'} by {one_line(event.data.get('by', 'somebody'))}"
    return replace(state, ending=None, turned=state.turned or back, notes=_last(state.notes, note, KEPT_NOTES))


def _began(state: ViewState, event: Event) -> ViewState:
    data = event.data
    step = StepLine(
        text=one_line(data.get("text", "")),
        state="running",
        kind=str(data.get("step", "")),
        began=event.at,
        until=float(data.get("until") or 0.0),
        as_needed=data.get("step") == "watch" and float(data.get("until") or 0.0) <= event.at,
        limit=event.at + float(data.get("deadline") or 0.0),
    )
    state = _put(replace(state, ending=None, activity=""), event, step)
    if step.kind == "watch":  # the samples of a watch count from its beginning
        state = replace(_uncounted(state), verdict=None)
    return replace(state, tasks=()) if step.plays else state


def _uncounted(state: ViewState) -> ViewState:
    """Forget what was counted: samples begin again."""
    return replace(state, looks=(), measured=None, lost=0, cost=None, proof=None, so_far=None, metrics=())


def _progress(state: ViewState, event: Event) -> ViewState:
    running = state.running
    if running is None:  # what comes before the rollout has a number: fetching an image
        return replace(state, activity=one_line(event.data.get("text", "")))
    return _replace_running(state, replace(running, progress=one_line(event.data.get("text", ""))))


def _done(state: ViewState, event: Event) -> ViewState:
    step = _ended(state, event, "done")
    return replace(_put(state, event, step), promoted=state.promoted or step.kind == "promote")


def _failed(state: ViewState, event: Event) -> ViewState:
    data = event.data
    log = tuple(clean(line).rstrip() for line in data.get("log") or ())[-KEPT_LOG:]
    failure = Failure(clean(data.get("error", "")), clean(data.get("hint", "")), log, data.get("phase") == "back")
    ended: StepState = "stopped" if data.get("exit") == Exit.ABORTED else "failed"
    return replace(_put(state, event, _ended(state, event, ended)), failure=failure)


def _task(state: ViewState, event: Event) -> ViewState:
    fields = ("playbook", "task", "host", "status", "message")
    task = Task(*(one_line(event.data.get(name) or "") for name in fields))
    return replace(state, tasks=(*state.tasks, task)[-KEPT_TASKS:])


def _traffic(state: ViewState, event: Event) -> ViewState:
    data = event.data
    share = int(data.get("share", 0))
    # what was measured under another share says nothing about this one
    measured = state.measured if share == state.share else None
    return replace(
        state,
        colour=str(data.get("stable", "")),
        share=share,
        measured=measured,
        baseline=int(data.get("baseline") or 0),
    )


def _sample(state: ViewState, event: Event) -> ViewState:
    data = event.data
    look = Look(event.at, _side(data.get("stable")), _side(data.get("candidate")))
    looks = state.looks
    if looks and look.candidate.requests < looks[-1].candidate.requests:
        looks = ()  # a new count began
    recent = tuple(old for old in looks if event.at - old.at <= RATE_WINDOW)
    running, waits = state.running, one_line(data.get("waits") or "")
    if running is not None and running.kind == "watch" and running.progress != waits:
        state = _replace_running(state, replace(running, progress=waits))
    measured = data.get("share_actual")
    return replace(
        state,
        share=int(data.get("share_target", state.share or 0)),
        measured=None if measured is None else float(measured),
        looks=(*recent, look),
        lost=int(data.get("lost") or 0),
        cost=_cost(data),
        proof=_proof(data),
        so_far=_said(data) if data.get("verdict") else None,
    )


def _cost(data: dict[str, Any]) -> Cost | None:
    spent, budget, shielded = (int(data.get(key) or 0) for key in ("spent", "budget", "shielded"))
    return Cost(spent, budget, shielded, over=bool(budget) and spent >= budget) if budget or shielded else None


def _proof(data: dict[str, Any]) -> ProofView | None:
    shown, more = data.get("shown"), data.get("more")
    if shown is None:
        return None
    unit = one_line(data.get("unit") or "responses")
    return ProofView(min(max(float(shown), 0.0), 1.0), None if more is None else int(more), unit)


def _budget(state: ViewState, event: Event) -> ViewState:
    spent, limit = int(event.data.get("spent") or 0), int(event.data.get("limit") or 0)
    return replace(state, cost=Cost(spent, limit, state.cost.shielded if state.cost else 0, over=True))


def _shield(state: ViewState, event: Event) -> ViewState:
    return state if state.cost else replace(state, cost=Cost(shielded=int(event.data.get("shielded") or 0)))


def _lease(state: ViewState, event: Event) -> ViewState:
    ago = f"the lease ran out {float(event.data.get('seconds') or 0):.0f} s ago: everyone was on stable since"
    return replace(state, notes=_last(state.notes, ago, KEPT_NOTES))


def _metric(state: ViewState, event: Event) -> ViewState:
    data = event.data
    says = VerdictView(one_line(data.get("verdict", "")), one_line(data.get("text", "")))
    metrics = {**dict(state.metrics), one_line(data.get("name", "")): says}
    return replace(state, metrics=tuple(metrics.items()))


def _verdict(state: ViewState, event: Event) -> ViewState:
    return replace(state, verdict=_said(event.data))


def _said(data: dict[str, Any]) -> VerdictView:
    word = verdict(one_line(data.get("verdict", "")), bool(data.get("enough")))
    return VerdictView(word, one_line(data.get("text", "")))


def _turned(state: ViewState, event: Event) -> ViewState:
    data = event.data
    forward = tuple(replace(s, state="stopped") if s.state == "running" else s for s in state.forward)
    error, hint = clean(data.get("error", "")), clean(data.get("hint", ""))
    log = state.failure.log if state.failure else ()
    return replace(state, forward=forward, turned=True, failure=Failure(error, hint, log))


def _asked(state: ViewState, event: Event) -> ViewState:
    data = event.data
    given = tuple(one_line(who) for who in data.get("given") or ())
    # Both sides are compared while it waits, from now on.
    state = _uncounted(state)
    return _spoken(replace(state, approved=given, needed=int(data.get("count") or 0)))


def _given(state: ViewState, event: Event) -> ViewState:
    by = one_line(event.data.get("by", ""))
    state = replace(state, approved=(*(who for who in state.approved if who != by), by))
    return _spoken(_note(state, event))


def _spoken(state: ViewState) -> ViewState:
    """Note at the step that waits how many have approved."""
    running, who = state.running, ", ".join(state.approved)
    if running is None or running.kind != "approve" or not state.needed:
        return state
    said = f"{len(state.approved)} of {state.needed} approved{f': {who}' if who else ''}"
    return _replace_running(state, replace(running, progress=said))


def _held(state: ViewState, event: Event) -> ViewState:
    data = event.data
    share = data.get("share", state.share)
    ending = EndingView("paused", one_line(data.get("text", "")), int(data.get("exit", 0)), event.at)
    return replace(state, share=share, ending=ending)


def _finished(state: ViewState, event: Event) -> ViewState:
    data = event.data
    ending = EndingView(
        str(data.get("outcome", "")), one_line(data.get("text", "")), int(data.get("exit", 0)), event.at
    )
    return replace(state, ending=ending)


def _note(state: ViewState, event: Event) -> ViewState:
    return replace(state, notes=_last(state.notes, one_line(event.data.get("text", "")), KEPT_NOTES))


def _untold(state: ViewState, event: Event) -> ViewState:
    to, text = one_line(event.data.get("to", "")), one_line(event.data.get("text", ""))
    return replace(state, notes=_last(state.notes, f"{to or 'a recipient'} was not notified: {text}", KEPT_NOTES))


def _side(data: dict[str, Any] | None) -> SideState:
    data = data or {}
    return SideState(int(data.get("requests") or 0), int(data.get("errors") or 0), data.get("p50"), data.get("p99"))


def _ended(state: ViewState, event: Event, how: StepState) -> StepLine:
    step = _get(state, event)
    seconds = event.data.get("seconds")
    took = float(seconds) if seconds is not None else event.at - (step.began or event.at)
    text = one_line(event.data.get("text", "")) or step.text
    return replace(step, text=text, state=how, seconds=took, progress="")


def _get(state: ViewState, event: Event) -> StepLine:
    steps = state.back if event.data.get("phase") == "back" else state.forward
    n = int(event.data.get("n", -1))
    return steps[n] if 0 <= n < len(steps) else StepLine("")


def _put(state: ViewState, event: Event, step: StepLine) -> ViewState:
    """Set step `n` of its phase, counted from 0; a way that was not announced grows as its steps are heard of."""
    back = event.data.get("phase") == "back"
    steps = state.back if back else state.forward
    n = int(event.data.get("n", 0))
    if not 0 <= n <= LONGEST:
        raise ValueError(f"no plan has a step {n}")
    steps = steps + tuple(StepLine("") for _ in range(n - len(steps)))
    steps = (*steps[:n], step, *steps[n + 1 :])
    return replace(state, back=steps, turned=True) if back else replace(state, forward=steps)


def _replace_running(state: ViewState, step: StepLine) -> ViewState:
    def swap(steps: tuple[StepLine, ...]) -> tuple[StepLine, ...]:
        return tuple(step if old.state == "running" else old for old in steps)

    return replace(state, forward=swap(state.forward), back=swap(state.back))


def _last(kept: tuple[str, ...], text: str, limit: int) -> tuple[str, ...]:
    return (*kept, text)[-limit:]


_HANDLERS: dict[str, Callable[[ViewState, Event], ViewState]] = {
    "rollout.started": _started,
    "rollout.resumed": _resumed,
    "step.began": _began,
    "step.progress": _progress,
    "step.done": _done,
    "step.failed": _failed,
    "task": _task,
    "traffic.changed": _traffic,
    "sample": _sample,
    "verdict": _verdict,
    "metric": _metric,
    "budget.spent": _budget,
    "shield.used": _shield,
    "side.lost": _note,
    "lease.over": _lease,
    "approval.asked": _asked,
    "approval.given": _given,
    "approval.refused": _note,
    "approval.expired": _note,
    "rollout.rolling_back": _turned,
    "rollout.paused": _held,
    "rollout.detached": _note,
    "rollout.ended": _finished,
    "note": _note,
    "job.started": _note,
    "job.output": _note,
    "job.ended": _note,
    "set.ended": _note,
    "host.unreachable": _note,
    "host.back": _note,
    "proxy.lost": _note,
    "proxy.back": _note,
    "notify.failed": _untold,
}

KINDS = frozenset(_HANDLERS)  # events that change what is shown
