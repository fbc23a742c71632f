"""What a person may ask for now, each with what it will do: the buttons of a page and the dialogs behind them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from deployer.app import operations, plans
from deployer.app.operations import AppContext
from deployer.app.operations.control import unapproved
from deployer.app.operations.execution import committed
from deployer.core.limits import REASON
from deployer.planning.steps import Approve, Observe, Watch
from deployer.server.guard import Caller
from deployer.server.page.frame import words
from deployer.store import Rollout, person_of
from deployer.views.report.markup import Content, Markup, tag
from deployer.views.text import release as named


@dataclass(frozen=True)
class Dialog:
    """One thing to ask for: the button, the question, what will happen, and what the API is sent besides the reason."""

    action: str
    label: str
    question: str
    what: str
    steps: Sequence[str]
    body: dict[str, Any]
    style: str = ""
    to: str = ""  # the route of the API, where it is not called as the action
    firm: bool = False  # it needs a reason
    fields: Content = None  # what else is asked for
    planned: bool = False  # its plan depends on the fields: the script asks for it and shows it first


def asks(house: AppContext, service: str, caller: Caller) -> tuple[Dialog, ...]:
    """Give what the caller may ask for of a service now; nothing for a viewer."""
    if not caller.token.may("operator"):
        return ()
    rollout = house.store.rollouts.in_progress(service)
    return tuple(_of_rollout(house, rollout, caller) if rollout else _of_rest(house, service))


def _approval(
    gate: operations.Gate, rollout: Rollout, caller: Caller, new: str, back_to: str, back: Sequence[str]
) -> Iterator[Dialog]:
    """Ask for a consent, if the caller is one of those whose it is."""
    name = caller.token.name
    if gate.step.allows(name, caller.token.role, person_of(rollout.started_by)):
        return
    said = {voice.person.casefold(): voice.refused for voice in gate.voices}
    body = {"rollout": rollout.number}
    others = gate.missing - 1
    after = (
        f"{others} more must approve, then it goes on:"
        if others > 0
        else "No further approval is needed; it continues:"
    )
    if said.get(name.casefold()) is not False:
        steps = [step.explain() for step in rollout.plan.forward[gate.n + 1 : rollout.plan.commit + 1]]
        yield Dialog("approve", "Approve", f"Approve {new}?", f"You approve as {name}. {after}", steps, body, "main")
    what = f"You refuse as {name}. {back_to}"
    refused = {**body, "refuse": True}
    yield Dialog("refuse", "Refuse", f"Refuse {new}?", what, back, refused, "danger", "approve", firm=True)


def _of_rollout(house: AppContext, rollout: Rollout, caller: Caller) -> Iterator[Dialog]:
    candidate = house.store.releases.get(rollout.service, rollout.release)
    new = named(candidate.number, candidate.version)
    origin = house.store.releases.get(rollout.service, rollout.origin) if rollout.origin else None
    old = named(origin.number, origin.version) if origin else "nothing"
    on_to, back_to = f"{new} becomes the live release of {rollout.service}", f"{new} is stopped, and {old} works on:"
    if candidate.served:
        on_to = f"All users of {rollout.service} go to {new} now"
        back_to = f"All users of {rollout.service} return to {old} at once; then {new} is removed:"
    body = {"rollout": rollout.number}
    left = [step for _, step in house.store.journal.left(rollout)]
    back = [step.explain() for step in rollout.plan.back]
    driven, forward = house.store.locks.read(rollout.service) is not None, rollout.phase == "forward"
    held, over = bool(rollout.outcome), committed(house, rollout)
    gate = operations.gate_of(house.store, rollout, house.clock.now())
    if gate is not None:
        yield from _approval(gate, rollout, caller, new, back_to, back)
    ahead = forward and unapproved(house.store, rollout)
    if forward and not over and ahead and caller.token.may("admin"):
        whose = " and that of ".join(step.whose() for step in ahead)
        what = f"{on_to}, without the approval of {whose}. That is recorded:"
        steps = [step.explain() for step in left if not isinstance(step, Watch | Observe | Approve)]
        forced = {**body, "force": True}
        question = f"Promote {new} without approval?"
        yield Dialog("force", "Promote anyway", question, what, steps, forced, "danger", "promote", firm=True)
    if forward and not over and not ahead:
        yield Dialog(
            "promote",
            "Promote",
            f"Promote {new}?",
            f"{on_to}. Remaining checks and approvals are skipped:",
            [step.explain() for step in left if not isinstance(step, Watch | Observe | Approve)],
            body,
            "main",
        )
    if driven and not held and forward and not over:
        share = f"pause {new} {'at its present share' if candidate.served else 'as it is'}"
        what = f"The rollout of {rollout.service} stops where it is and goes on when somebody resumes it:"
        yield Dialog("pause", "Pause", f"Pause the rollout of {new}?", what, [share], body)
    if held or not driven:
        what, steps = f"The rollout to {new} goes on where it stopped:", [step.explain() for step in left]
        if not forward:
            what, steps = f"The rollback to {old} continues:", back
        yield Dialog("resume", "Resume", f"Resume the rollout of {new}?", what, steps, body)
    if not over and (forward or held):
        yield Dialog("abort", "Abort", f"Abort the rollout of {new}?", back_to, back, body, "danger")


def _of_rest(house: AppContext, service: str) -> Iterator[Dialog]:
    way = plans.way_back(house, service)
    if way is not None:
        old, new = named(way.origin, way.origin_version), named(way.release, way.version)
        served = house.store.releases.get(service, way.release).served
        left = f"All users of {service} leave {old}" if served else f"{service} goes back from {old}"
        what = f"{left}; {'; '.join(way.notes)}:"
        if since := operations.brought_back(house, service):
            what = f"Mind that {since}. {what}"
        body = {"rollout": 0, "to": way.release}
        yield Dialog("rollback", "Roll back", f"Roll back to {new}?", what, way.forward, body, "danger")


def buttons(asked: Sequence[Dialog]) -> Markup | None:
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


def dialogs(place: str, asked: Sequence[Dialog]) -> Markup:
    """Write the dialogs that the buttons open, for what the API has at a place."""
    return tag("div", [_dialog(place, ask) for ask in asked], id="dialogs")


def _dialog(place: str, ask: Dialog) -> Markup:
    name, route = f"ask-{ask.action}", f"/api/v1{place}"
    steps = tag("ol", [tag("li", words(step)) for step in ask.steps])
    return tag(
        "dialog",
        tag("h2", ask.question, id=f"{name}-title"),
        tag("div", tag("p", ask.what), steps if ask.steps else None, id=f"{name}-what"),
        tag(
            "form",
            ask.fields,
            tag("label", "Reason", tag("small", " kept in the history and the audit log"), for_=f"{name}-reason"),
            tag(
                "textarea",
                id=f"{name}-reason",
                name="reason",
                rows="2",
                maxlength=str(REASON),
                required="" if ask.firm else None,
            ),
            tag("div", class_="plan", role="status", id=f"{name}-plan") if ask.planned else None,
            tag("p", class_="error", role="alert"),
            tag(
                "div",
                tag("button", "Cancel", type="button", data_closes=""),
                tag("button", "Show the plan" if ask.planned else ask.label, type="submit", class_=ask.style or "main"),
                class_="asks",
            ),
            data_plan=f"{route}/plan" if ask.planned else None,
            data_post=f"{route}/{ask.to or ask.action}",
            data_body=json.dumps(ask.body),
        ),
        id=name,
        aria_labelledby=f"{name}-title",
        aria_describedby=f"{name}-what",
    )
