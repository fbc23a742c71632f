"""Sets of services on the pages: all members side by side, what each waits for, and what may be asked of all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from deployer.app.operations import AppContext
from deployer.app.operations.control import unapproved
from deployer.app.operations.set_rollback import way_back
from deployer.core.amounts import percent
from deployer.core.errors import Refused
from deployer.server.guard import Caller
from deployer.server.page.dialogs import Dialog, buttons, dialogs
from deployer.server.page.frame import part, words
from deployer.store import Rollout
from deployer.views.report import times
from deployer.views.report.headline import KINDS
from deployer.views.report.markup import Content, Markup, tag
from deployer.views.report.sections import table
from deployer.views.set_data import SetMemberView, SetsView, SetView
from deployer.views.text import release

HEADS = ("service", "release", "traffic", "live now", "rollout")


def cards(found: Sequence[SetView], now: float, *, acts: bool) -> Content:
    """Write the newest release of each set for the page of all services."""
    return [_card(view, now, acts=acts) for view in found]


def _card(view: SetView, now: float, *, acts: bool) -> Markup:
    place = f"/sets/{view.name}"
    title = tag("h2", tag("a", view.name, href=place), tag("small", " released together"))
    way = None
    if acts and view.next:
        way = tag("p", tag("a", "Abort all…", href=f"{place}#ask-abort", class_="way"))
    elif acts and view.live:
        way = tag("p", tag("a", "Roll all back…", href=f"{place}#ask-rollback", class_="way"))
    style = "set under-way" if view.next else "set"
    return tag("section", title, _newest(view, now), _members(view), way, class_=style, id=f"set-{view.name}")


def title(view: SetView) -> str:
    """Return how the newest release of a set is."""
    if not view.outcome:
        return f"Set {view.number} is in progress"
    live = ", live" if view.live else ""
    return f"Set {view.number}: {word(view.outcome)}{live}"


def main(view: SetView, history: SetsView, asked: Sequence[Dialog], now: float) -> list[Content]:
    """Write one set: its newest release, and those before."""
    return [
        tag("p", tag("b", view.name), class_="over"),
        tag("h1", title(view)),
        buttons(asked),
        part("Services", _newest(view, now), _members(view), id_="members"),
        part("Releases of the set", _history(history.sets, now), id_="sets"),
        dialogs(f"/sets/{view.name}", asked),
    ]


def word(outcome: str) -> str:
    """Return an outcome in words."""
    return {"reverted": "rolled back", "needs-attention": "needs attention", "": "in progress"}.get(outcome, outcome)


def _chip(outcome: str) -> Markup:
    return tag("span", word(outcome), class_=f"chip {KINDS.get(outcome, '')}")


def _newest(view: SetView, now: float) -> list[Content]:
    """Write how the newest release is, and in a sentence who was the cause."""
    began = [f"set {view.number}, {view.strategy} by {view.by}, ", times.ago(view.started_at, now)]
    why = tag("small", f" {view.message}") if view.message else None
    lines: list[Content] = [tag("p", _chip(view.outcome), began, why, class_="soft")]
    if view.text:
        lines.append(tag("p", words(view.text), class_="cause"))
    if view.next and view.outcome:
        lines.append(tag("p", words(view.next)))
    return lines


def _members(view: SetView) -> Markup:
    return table(HEADS, [_member(member) for member in view.members], numeric=(2,))


def _member(member: SetMemberView) -> tuple[Content, ...]:
    doing: Content = "was live already"
    if member.rollout:
        link = tag("a", f"rollout {member.rollout}", href=f"/rollouts/{member.rollout}")
        doing = [_chip(member.outcome), link, tag("small", " next: ", words(member.step)) if member.step else None]
    return (
        tag("a", member.service, href=f"/services/{member.service}"),
        release(member.release, member.version),
        percent(member.share) if member.share else "–",
        f"r{member.stable}" if member.stable else "nothing",
        doing,
    )


def _history(found: Sequence[SetView], now: float) -> Markup:
    return table(
        ("set", "outcome", "began", "what", "services", "by"),
        [
            (
                str(each.number),
                _chip(each.outcome),
                times.ago(each.started_at, now),
                [each.strategy, tag("small", f" {each.message}") if each.message else None],
                ", ".join(f"{m.service} {release(m.release, m.version)}" for m in each.members),
                each.by,
            )
            for each in found
        ],
    )


# -- what may be asked


def asks(house: AppContext, view: SetView, caller: Caller) -> tuple[Dialog, ...]:
    """Return what the caller may ask for of a set now; nothing for a viewer."""
    if not caller.token.may("operator"):
        return ()
    rollouts = [house.store.rollouts.get(member.rollout) for member in view.members if member.rollout]
    left = [rollout for rollout in rollouts if rollout.open]
    return tuple(_in_progress(house, view, left) if left else _at_rest(house, view))


def _in_progress(house: AppContext, view: SetView, left: Sequence[Rollout]) -> Iterator[Dialog]:
    store, body = house.store, {"set": view.number}
    of = {member.service: member for member in view.members}
    new = [f"{each.service} {release(each.release, of[each.service].version)}" for each in left]
    back = [f"{each.service} returns to r{each.origin}" if each.origin else f"{each.service} stops" for each in left]
    forward = all(each.phase == "forward" for each in left) and view.decided != "back"
    held = [each for each in left if each.outcome]
    alone = [each for each in left if not each.outcome and store.locks.read(each.service) is None]
    if forward and view.decided == "" and not any(unapproved(store, each) for each in left):
        what = f"All users of {len(left)} services go to the new releases; remaining analysis is skipped:"
        yield Dialog("promote", "Promote all", f"Promote set {view.number}?", what, new, body, "main")
    if forward and view.decided == "" and not held and not alone:
        what = "All rollouts of the set stay at their present share, and go on when somebody resumes them:"
        yield Dialog("pause", "Pause all", f"Pause set {view.number}?", what, new, body)
    if held or alone:
        what = "All rollouts of the set go on where they stopped:" if forward else "The rollback of all continues:"
        yield Dialog("resume", "Resume all", f"Resume set {view.number}?", what, new if forward else back, body)
    if view.decided != "forward" and (forward or held):
        what = "The users of all services return at once; then the candidates are removed:"
        yield Dialog("abort", "Abort all", f"Abort set {view.number}?", what, back, body, "danger")


def _at_rest(house: AppContext, view: SetView) -> Iterator[Dialog]:
    try:
        group, before = way_back(house, view.name)
    except Refused:  # nothing is before it, or not all of it is live: `deploy release rollback` says which
        return
    versions = {service: house.store.releases.get(service, number).name for service, number in before.items()}
    steps = [f"{service} returns to {name}" for service, name in versions.items()]
    what = f"All users of these services leave what {group.title} brought:"
    body = {"set": 0}
    yield Dialog("rollback", "Roll all back", f"Roll back set {group.number}?", what, steps, body, "danger")
