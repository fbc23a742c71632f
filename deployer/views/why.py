"""Why a rollout ended as it did, what it cost and who asked for what: read from its events, the cause first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from deployer.views.text import about, clean, one_line, part, plural

ASKED = " asked by "  # in the note that an ask leaves


@dataclass(frozen=True)
class Trip:
    """Something that took effect at a limit (lease, budget, shield, metric, side): a sentence with its numbers."""

    kind: str
    at: float
    text: str


@dataclass(frozen=True)
class Why:
    """The cause in one sentence, what to do next, the last lines of a failing instance, and what else weighed."""

    cause: str = ""
    remedy: str = ""
    log: tuple[str, ...] = ()
    trips: tuple[Trip, ...] = ()
    asked: tuple[tuple[float, str], ...] = ()  # who asked for what, Unix time first
    verdict: Mapping[str, Any] | None = None  # the last comparison
    since: float = 0.0  # when the process took over whose counts come now


def why(events: Iterable[Mapping[str, Any]]) -> Why:
    """Read the events of a rollout, as `Event.to_dict` gives them, in order."""
    found = Why()
    for event in events:
        reader = _READERS.get(str(event.get("event")))
        if reader:
            found = reader(found, event)
    if not found.cause and found.verdict:
        found = replace(found, cause=unopposed(found.verdict))
    return found


def unopposed(verdict: Mapping[str, Any]) -> str:
    """Return what was seen of a candidate that went on; "no worse" only where that was shown."""
    if verdict.get("verdict") == "no worse" or "stable_requests" not in verdict:
        proven = "proven no worse" if verdict.get("verdict") == "no worse" else "no regression found"
        return f"{proven}: {one_line(verdict.get('text', ''))}"
    sides = (_failed(name, verdict) for name in ("candidate", "stable"))
    proofs = list((verdict.get("proofs") or {}).values())
    needed = [proof.get("answers_needed") for proof in proofs]
    more = ""
    if needed and None not in needed:
        more = f" (about {about(max(map(int, needed)))} more {proofs[0].get('unit', 'responses')} needed)"
    unseen = ""
    if "unseen" in verdict:
        unseen = f"; a failure rate of up to {_rate(verdict['unseen'])} would not have been seen"
    return f"no regression found: {', '.join(sides)}{unseen}; too little traffic to prove no worse{more}"


def _rate(fraction: Any) -> str:
    return f"{100 * float(fraction):.2g}%"


def _failed(name: str, verdict: Mapping[str, Any]) -> str:
    errors, requests = int(verdict.get(f"{name}_errors", 0)), int(verdict.get(f"{name}_requests", 0))
    return f"{name} {part(errors, requests)} failed ({errors:,} of {requests:,})"


def _started(found: Why, event: Mapping[str, Any]) -> Why:
    return replace(found, asked=(*found.asked, (_at(event), f"started by {one_line(event.get('by', 'somebody'))}")))


def _resumed(found: Why, event: Mapping[str, Any]) -> Why:
    asked = (*found.asked, (_at(event), f"resumed by {one_line(event.get('by', 'somebody'))}"))
    return replace(found, cause="", remedy="", log=(), asked=asked, since=_at(event))


def _failure(found: Why, event: Mapping[str, Any]) -> Why:
    log = tuple(clean(line).rstrip() for line in event.get("log") or ())
    return replace(_caused(found, event), log=log)


def _caused(found: Why, event: Mapping[str, Any]) -> Why:
    cause = one_line(event.get("error") or event.get("text") or "")
    return replace(found, cause=cause or found.cause, remedy=one_line(event.get("hint") or "") or found.remedy)


def _verdict(found: Why, event: Mapping[str, Any]) -> Why:
    """Keep the last that compared: at a full share there is nothing to compare with."""
    compared = "stable_requests" in event or found.verdict is None
    return replace(found, verdict=event) if compared else found


def _note(found: Why, event: Mapping[str, Any]) -> Why:
    text = one_line(event.get("text", ""))
    return replace(found, asked=(*found.asked, (_at(event), text))) if ASKED in text else found


def _voice(found: Why, event: Mapping[str, Any]) -> Why:
    return replace(found, asked=(*found.asked, (_at(event), one_line(event.get("text", "")))))


def _budget(found: Why, event: Mapping[str, Any]) -> Why:
    spent, limit = int(event.get("spent", 0)), int(event.get("limit", 0))
    seen = f"users had seen {spent:,} of {plural(limit, 'failed response')} that were allowed"
    text = f"{seen}: the proxy sent it no more traffic"
    return _tripped(found, Trip("budget", _at(event), text))


def _metric(found: Why, event: Mapping[str, Any]) -> Why:
    if event.get("verdict") != "worse":
        return found
    dry = " (dry run: it decided nothing)" if event.get("dry_run") else ""
    text = f"{one_line(event.get('name', ''))}: {one_line(event.get('text', ''))}{dry}"
    return _tripped(found, Trip("metric", _at(event), text))


def _shield(found: Why, event: Mapping[str, Any]) -> Why:
    """Keep the newest count of each process only: it covers those before."""
    answers = plural(int(event.get("shielded", 0)), "failed response")
    of = int(event.get("answered", 0))
    text = f"{answers} of the candidate{f' (of {of:,} responses)' if of else ''} did not reach a user: stable answered"
    others = tuple(t for t in found.trips if t.kind != "shield" or t.at < found.since)
    return _tripped(replace(found, trips=others), Trip("shield", _at(event), text))


def _side_lost(found: Why, event: Mapping[str, Any]) -> Why:
    """Keep the newest figures only: they cover those before."""
    others = tuple(t for t in found.trips if t.kind != "side")
    return _tripped(replace(found, trips=others), Trip("side", _at(event), one_line(event.get("text", ""))))


def _lease(found: Why, event: Mapping[str, Any]) -> Why:
    share = int(event.get("share", 0)) / 100
    seconds = float(event.get("seconds", 0))
    text = f"the lease of {share:g}% ran out by itself, {seconds:.0f} s before the process came back"
    return _tripped(found, Trip("lease", _at(event), text))


def _host(found: Why, event: Mapping[str, Any]) -> Why:
    return _tripped(found, Trip("host", _at(event), one_line(event.get("text", ""))))


def _tripped(found: Why, trip: Trip) -> Why:
    return replace(found, trips=(*found.trips, trip))


def _at(event: Mapping[str, Any]) -> float:
    return float(event.get("at", 0))


_READERS = {
    "rollout.started": _started,
    "rollout.resumed": _resumed,
    "rollout.rolling_back": _caused,
    "rollout.paused": _caused,
    "step.failed": _failure,
    "verdict": _verdict,
    "note": _note,
    "approval.given": _voice,
    "approval.refused": _voice,
    "metric": _metric,
    "budget.spent": _budget,
    "shield.used": _shield,
    "side.lost": _side_lost,
    "lease.over": _lease,
    "host.unreachable": _host,
    "host.back": _host,
    "proxy.lost": _host,
    "proxy.back": _host,
}
