"""How a set has ended: the ending of the member that ended worst, with what it means for the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from deployer.core.errors import Exit
from deployer.planning.orders import RolloutResult
from deployer.planning.sets import worst
from deployer.planning.steps import named

if TYPE_CHECKING:
    from deployer.store import Store
    from deployer.store.sets import ReleaseSet


def told(store: Store, group: ReleaseSet) -> dict[str, Any]:
    """Return what the event of the ending tells, by the records of all members."""
    rollouts = {member.service: member.rollout for member in group.moved}
    result = ending(store, group, {service: store.rollouts.get(n).result for service, n in rollouts.items()})
    said = {"outcome": result.outcome, "exit": int(result.exit), "text": result.text}
    culprit = store.sets.get(group.number).culprit
    return {"set": group.number, "name": group.name, **said, "culprit": culprit, "rollouts": rollouts}


def ending(store: Store, group: ReleaseSet, results: Mapping[str, RolloutResult]) -> RolloutResult:
    """Return the ending of a set of which the members ended so."""
    outcome = worst(each.outcome for each in results.values())
    same = {service: each for service, each in results.items() if each.outcome == outcome}
    code = max(each.exit for each in same.values())
    group = store.sets.get(group.number)
    match outcome:
        case "done":
            text = f"{group.title} is live: {_versions(store, group)}"
        case "reverted":
            text, code = _reverted(store, group, results), _code(group, same)
        case _:
            text = "; ".join(f"{service}: {each.text}" for service, each in same.items())
    if person := {service: each for service, each in results.items() if each.exit is Exit.NEEDS_PERSON}:
        code, more = Exit.NEEDS_PERSON, [f"{s}: {each.text}" for s, each in person.items() if each.text not in text]
        text = "; ".join((text, *more))
    return RolloutResult(outcome, Exit(code), text, 0)


def _code(group: ReleaseSet, same: Mapping[str, RolloutResult]) -> Exit:
    """Return the exit code of a set that was rolled back: that of its cause, or 0 where it was aborted on request."""
    if all(each.exit is Exit.DONE for each in same.values()):
        return Exit.DONE
    return next((each.exit for service, each in same.items() if service == group.culprit), Exit(group.exit))


def _reverted(store: Store, group: ReleaseSet, results: Mapping[str, RolloutResult]) -> str:
    others = tuple(sorted(service for service in results if service != group.culprit))
    with_it = f"; {named(others)} {'was' if len(others) == 1 else 'were'} rolled back with it" if others else ""
    failed = [f"{s} {said}" for s in others if (said := _failed(store, results[s].rollout))]
    too = f" (their candidates failed, too: {', '.join(failed)})" if failed else ""
    return f"{group.title} was rolled back: {group.culprit}: {group.cause}{with_it}{too}"


def _failed(store: Store, rollout: int) -> str:
    """Return how many responses of a candidate failed in its last analysis; "" where no more than those of stable."""
    last = next((e for e in reversed(store.events.of(rollout)) if e.kind == "verdict"), None)
    watched = last.data.get("watched", {}) if last else {}
    candidate, stable = (watched.get(side) or {} for side in ("candidate", "stable"))
    errors, requests = candidate.get("errors", 0), candidate.get("requests", 0)
    if errors * max(stable.get("requests", 0), 1) <= stable.get("errors", 0) * max(requests, 1):
        return ""
    return f"{errors:,} of {requests:,}"


def _versions(store: Store, group: ReleaseSet) -> str:
    found = ((m.service, store.releases.get(m.service, m.release)) for m in group.members)
    return ", ".join(f"{service} {release.name}" for service, release in found)
