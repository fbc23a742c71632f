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
from deployer.model import Release
from deployer.planning.steps import Approve, Observe, Step, Watch
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
    """Return what the caller may ask for of a service now; nothing for a viewer."""
    if not caller.token.may("operator"):
        return ()
    rollout = house.store.rollouts.in_progress(service)
    return tuple(_of_rollout(house, rollout, caller) if rollout else _of_rest(house, service))


@dataclass(frozen=True)
class _Moment:
    """A rollout as it is now: whom it brings, whom users would return to, what is left, and whether anybody runs it."""

    rollout: Rollout
    candidate: Release
    old: str
    left: Sequence[Step]
    driven: bool
    promoted: bool

    @property
    def new(self) -> str:
        """Name the candidate."""
        return named(self.candidate.number, self.candidate.version)

    @property
    def body(self) -> dict[str, Any]:
        """What the API is sent about any of it."""
        return {"rollout": self.rollout.number}

    @property
    def held(self) -> bool:
        """Whether it waits for somebody."""
        return bool(self.rollout.outcome)

    @property
    def undecided(self) -> bool:
        """Whether it may still be promoted."""
        return self.rollout.phase == "forward" and not self.promoted

    @property
    def on_to(self) -> str:
        """Return what a promotion does."""
        if self.candidate.served:
            return f"All users of {self.rollout.service} go to {self.new} now"
        return f"{self.new} becomes the live release of {self.rollout.service}"

    @property
    def back_to(self) -> str:
        """Return what an abort does."""
        if self.candidate.served:
            return f"All users of {self.rollout.service} return to {self.old} at once; then {self.new} is removed:"
        return f"{self.new} is stopped, and {self.old} works on:"

    def back(self) -> list[str]:
        """Return the steps of a rollback."""
        return [step.explain() for step in self.rollout.plan.back]

    def at_once(self) -> list[str]:
        """Return the steps of a promotion that waits for nothing."""
        return [step.explain() for step in self.left if not isinstance(step, Watch | Observe | Approve)]


def _of_rollout(house: AppContext, rollout: Rollout, caller: Caller) -> Iterator[Dialog]:
    origin = house.store.releases.get(rollout.service, rollout.origin) if rollout.origin else None
    now = _Moment(
        rollout,
        house.store.releases.get(rollout.service, rollout.release),
        named(origin.number, origin.version) if origin else "nothing",
        [step for _, step in house.store.journal.left(rollout)],
        driven=house.store.locks.read(rollout.service) is not None,
        promoted=committed(house, rollout),
    )
    if (gate := operations.gate_of(house.store, rollout, house.clock.now())) is not None:
        yield from _approval(gate, now, caller)
    if now.undecided:
        if not (ahead := unapproved(house.store, rollout)):
            yield _promote(now)
        elif caller.token.may("admin"):
            yield _force(now, ahead)
    if now.undecided and now.driven and not now.held:
        yield _pause(now)
    if now.held or not now.driven:
        yield _resume(now)
    if now.undecided or (now.held and not now.promoted):
        yield Dialog("abort", "Abort", f"Abort the rollout of {now.new}?", now.back_to, now.back(), now.body, "danger")


def _approval(gate: operations.Gate, now: _Moment, caller: Caller) -> Iterator[Dialog]:
    """Ask for a consent, if the caller is one of those whose it is."""
    name, plan = caller.token.name, now.rollout.plan
    if gate.step.allows(name, caller.token.role, person_of(now.rollout.started_by)):
        return
    said = {voice.person.casefold(): voice.refused for voice in gate.voices}
    others = gate.missing - 1
    after = (
        f"{others} more must approve, then it goes on:"
        if others > 0
        else "No further approval is needed; it continues:"
    )
    if said.get(name.casefold()) is not False:
        steps = [step.explain() for step in plan.forward[gate.n + 1 : plan.commit + 1]]
        what = f"You approve as {name}. {after}"
        yield Dialog("approve", "Approve", f"Approve {now.new}?", what, steps, now.body, "main")
    what = f"You refuse as {name}. {now.back_to}"
    refused = {**now.body, "refuse": True}
    yield Dialog("refuse", "Refuse", f"Refuse {now.new}?", what, now.back(), refused, "danger", "approve", firm=True)


def _promote(now: _Moment) -> Dialog:
    what = f"{now.on_to}. Remaining checks and approvals are skipped:"
    return Dialog("promote", "Promote", f"Promote {now.new}?", what, now.at_once(), now.body, "main")


def _force(now: _Moment, ahead: Sequence[Approve]) -> Dialog:
    whose = " and that of ".join(step.whose() for step in ahead)
    what = f"{now.on_to}, without the approval of {whose}. That is recorded:"
    question, forced = f"Promote {now.new} without approval?", {**now.body, "force": True}
    return Dialog("force", "Promote anyway", question, what, now.at_once(), forced, "danger", "promote", firm=True)


def _pause(now: _Moment) -> Dialog:
    share = f"pause {now.new} {'at its present share' if now.candidate.served else 'as it is'}"
    what = f"The rollout of {now.rollout.service} stops where it is and goes on when somebody resumes it:"
    return Dialog("pause", "Pause", f"Pause the rollout of {now.new}?", what, [share], now.body)


def _resume(now: _Moment) -> Dialog:
    what, steps = f"The rollout to {now.new} goes on where it stopped:", [step.explain() for step in now.left]
    if now.rollout.phase != "forward":
        what, steps = f"The rollback to {now.old} continues:", now.back()
    return Dialog("resume", "Resume", f"Resume the rollout of {now.new}?", what, steps, now.body)


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
