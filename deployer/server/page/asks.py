"""What a person may ask for now, each with what it will do: the buttons of a page and the dialogs behind them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from deployer import queries
from deployer.operations import House
from deployer.operations.driving import committed
from deployer.server.guard import Caller
from deployer.server.page.frame import words
from deployer.steps import Approve, Watch
from deployer.store import Rollout
from deployer.views.report.markup import Markup, tag
from deployer.views.text import release as named

LONGEST = "2000"  # characters of a reason, as the API takes


@dataclass(frozen=True)
class Ask:
    """One thing to ask for: the button, the question, what will happen, and what the API is sent besides the reason."""

    action: str
    label: str
    question: str
    what: str
    steps: Sequence[str]
    body: dict[str, Any]
    style: str = ""


def asks(house: House, service: str, caller: Caller) -> tuple[Ask, ...]:
    """Give what the caller may ask for of a service now; nothing for a viewer."""
    if not caller.token.may("operator"):
        return ()
    rollout = house.store.open_rollout(service)
    return tuple(_of_rollout(house, rollout) if rollout else _of_rest(house, service))


def _of_rollout(house: House, rollout: Rollout) -> Iterator[Ask]:
    candidate = house.store.release(rollout.service, rollout.release)
    new = named(candidate.number, candidate.version)
    origin = house.store.release(rollout.service, rollout.origin) if rollout.origin else None
    old = named(origin.number, origin.version) if origin else "nothing"
    body = {"rollout": rollout.number}
    done = {e.n for e in house.store.journal(rollout.number) if e.phase == "forward" and e.state == "done"}
    left = [step for n, step in enumerate(rollout.plan.forward) if n not in done]
    back = [step.explain() for step in rollout.plan.back]
    driven, forward = house.store.locks.read(rollout.service) is not None, rollout.phase == "forward"
    held, over = bool(rollout.outcome), committed(house, rollout)
    if forward and not over:
        yield Ask(
            "promote",
            "Promote",
            f"Promote {new}?",
            f"All users of {rollout.service} go to {new} now. What is left of watches and approvals is not waited for:",
            [step.explain() for step in left if not isinstance(step, Watch | Approve)],
            body,
            "main",
        )
    if driven and not held and forward and not over:
        share = f"hold {new} at the share that it has"
        what = f"The rollout of {rollout.service} stops where it is and goes on when somebody resumes it:"
        yield Ask("pause", "Pause", f"Pause the rollout of {new}?", what, [share], body)
    if held or not driven:
        what, steps = f"The rollout to {new} goes on where it stopped:", [step.explain() for step in left]
        if not forward:
            what, steps = f"The way back to {old} goes on:", back
        yield Ask("resume", "Resume", f"Resume the rollout of {new}?", what, steps, body)
    if not over and (forward or held):
        what = f"All users of {rollout.service} are on {old} at once; then {new} is taken away:"
        yield Ask("abort", "Abort", f"Abort the rollout of {new}?", what, back, body, "danger")


def _of_rest(house: House, service: str) -> Iterator[Ask]:
    way = queries.way_back(house, service)
    if way is not None:
        old, new = named(way.origin, way.origin_version), named(way.release, way.version)
        what = f"All users of {service} leave {old}; {'; '.join(way.notes)}:"
        body = {"rollout": 0, "to": way.release}
        yield Ask("rollback", "Roll back", f"Roll back to {new}?", what, way.forward, body, "danger")


def buttons(asked: Sequence[Ask]) -> Markup | None:
    """Write the buttons."""
    if not asked:
        return None
    made = [
        tag(
            "button",
            ask.label,
            type="button",
            class_=ask.style or None,
            id=f"do-{ask.action}",
            data_opens=f"ask-{ask.action}",
            aria_haspopup="dialog",
        )
        for ask in asked
    ]
    return tag("div", made, class_="asks", role="group", aria_label="Act", id="asks")


def dialogs(service: str, asked: Sequence[Ask]) -> Markup:
    """Write the dialogs that the buttons open."""
    return tag("div", [_dialog(service, ask) for ask in asked], id="dialogs")


def _dialog(service: str, ask: Ask) -> Markup:
    name = f"ask-{ask.action}"
    return tag(
        "dialog",
        tag("h2", ask.question, id=f"{name}-title"),
        tag("div", tag("p", ask.what), tag("ol", [tag("li", words(step)) for step in ask.steps]), id=f"{name}-what"),
        tag(
            "form",
            tag("label", "Reason", tag("small", " kept in the history and the audit log"), for_=f"{name}-reason"),
            tag("textarea", id=f"{name}-reason", name="reason", rows="2", maxlength=LONGEST),
            tag("p", class_="error", role="alert"),
            tag(
                "div",
                tag("button", "Cancel", type="button", data_closes=""),
                tag("button", ask.label, type="submit", class_=ask.style or "main"),
                class_="asks",
            ),
            data_post=f"/api/v1/services/{service}/{ask.action}",
            data_body=json.dumps(ask.body),
        ),
        id=name,
        aria_labelledby=f"{name}-title",
        aria_describedby=f"{name}-what",
    )
