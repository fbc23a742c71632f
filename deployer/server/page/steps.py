"""The steps of a rollout that is in progress: what is done, what runs and for how long, what comes."""

from __future__ import annotations

from deployer.server.page.frame import until, words
from deployer.views.report.markup import Content, Markup, tag
from deployer.views.state import StepLine, ViewState
from deployer.views.text import duration

SIGNS = {"waiting": "○", "running": "●", "done": "✓", "failed": "✗", "stopped": "–", "paused": "‖"}


def steps(state: ViewState, now: float) -> Markup:
    """Write both ways; after the turn what was still to come is no news any more."""
    forward = [_step(s, state, now) for s in state.forward if not (state.turned and s.state == "waiting")]
    back = [tag("li", tag("b", "Rollback steps"), class_="turn"), *(_step(s, state, now) for s in state.back)]
    return tag("ol", forward, back if state.turned else None, class_="steps")


def _step(step: StepLine, state: ViewState, now: float) -> Markup:
    running = step.state == "running"
    held = running and state.ending is not None and state.ending.outcome == "paused"
    named = "paused" if held else step.state
    sign = tag("span", SIGNS[named], class_="sign", aria_label=named, role="img")
    more: list[Content] = [tag("small", f" {step.progress}")] if step.progress else []
    if step.plays and step.state in ("running", "failed"):
        more += [tag("small", tag("br"), f"{t.status}: {t.task} · {t.host} {t.message}") for t in state.tasks]
    time = tag("span", "paused" if held else _time(step, now), class_="n")
    return tag(
        "li",
        sign,
        tag("span", words(step.text), more),
        time,
        class_=step.state,
        aria_current="step" if running else None,
    )


def _time(step: StepLine, now: float) -> Content:
    if step.state in ("done", "failed"):
        return duration(step.seconds)
    if step.state == "running" and step.as_needed:
        return "as needed"
    return until(step.until, now) if step.state == "running" and step.until > now else None
