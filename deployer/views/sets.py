"""A release of several services in lines: how far each one is, and the releases before."""

from __future__ import annotations

from collections.abc import Callable

from deployer.core.amounts import percent
from deployer.views.set_data import SetMemberView, SetsView, SetView
from deployer.views.tables import OUTCOMES
from deployer.views.text import columns, moment, one_line, release

Ink = Callable[[str, str], str]


def status(view: SetView, now: float, ink: Ink) -> list[str]:  # noqa: ARG001 - the shape of all renderers
    """Write how far each service of a set is."""
    rows = [[ink(head, "dim") for head in ("service", "release", "traffic", "live now", "rollout")]]
    rows += [_member(member, ink) for member in view.members]
    out = [f"{ink(view.name, 'bold')}  {_outcome(view, ink)}", "", *columns(rows)]
    if view.text:
        out += ["", one_line(view.text)]
    if view.next:
        out.append(f"{ink('next', 'dim')}: {one_line(view.next)}")
    return out


def history(view: SetsView, now: float, ink: Ink) -> list[str]:  # noqa: ARG001 - the shape of all renderers
    """List the sets of a name."""
    rows = [[ink(head, "dim") for head in ("set", "when", "strategy", "outcome", "services", "by")]]
    for each in view.sets:
        services = ", ".join(f"{m.service} {release(m.release, m.version)}" for m in each.members)
        rows.append(
            [str(each.number), moment(each.started_at), each.strategy, _word(each, ink), services, one_line(each.by)]
        )
    return [ink(view.name, "bold"), "", *columns(rows)]


def _member(member: SetMemberView, ink: Ink) -> list[str]:
    doing = f"#{member.rollout} {_state(member.outcome, ink)}" if member.rollout else "was live already"
    step = f": {one_line(member.step)}" if member.step else ""
    share = percent(member.share) if member.share else "-"
    return [member.service, release(member.release, member.version), share, f"r{member.stable}", f"{doing}{step}"]


def _outcome(view: SetView, ink: Ink) -> str:
    live = ", live" if view.live else ""
    return f"set {view.number}, {view.strategy}: {_word(view, ink)}{live}"


def _word(view: SetView, ink: Ink) -> str:
    return _state(view.outcome, ink)


def _state(outcome: str, ink: Ink) -> str:
    word = {"reverted": "rolled back", "needs-attention": "needs attention", "": "in progress"}.get(outcome, outcome)
    return ink(word, OUTCOMES.get(outcome, ""))
