"""Measured values beside their limits: the fields of a verdict as rows of a table, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from deployer.views.text import about, count, latency, one_line

# What the rows below say together, or what stands elsewhere: the share, the sentence.
_TOLD = frozenset(
    {"event", "at", "service", "rollout", "verdict", "text", "enough", "watched", "share", "following"}
    | {"parts", "proofs", "limit", "responses"}
    | {f"{side}_{what}" for side in ("candidate", "stable") for what in ("requests", "errors", "rate")}
    | {
        "evidence",
        "evidence_needed",
        "error_ratio_low",
        "error_ratio_high",
        "step_requests",
        "requests_needed",
        "lost",
        "few",
        "unseen",
    }
)
_FAR = 1000.0  # a ratio above which nobody cares how far


@dataclass(frozen=True)
class Number:
    """One value: its name, the value, and the limit that it was held against ("" for none)."""

    name: str
    value: str
    limit: str = ""


def numbers(values: Mapping[str, Any]) -> tuple[Number, ...]:
    """Return the values of a verdict; fields that this version does not know come last, as they are."""
    return (*_sides(values), *_responses(values), *_worse(values), *_proofs(values), *_step(values), *_rest(values))


def _sides(values: Mapping[str, Any]) -> Iterator[Number]:
    for side in ("candidate", "stable"):
        if f"{side}_requests" in values:
            requests, errors = int(values[f"{side}_requests"]), int(values[f"{side}_errors"])
            rate = f" ({_percent(errors / requests)})" if requests else ""
            limit = f"at most {_percent(values['limit'])}" if side == "candidate" and "limit" in values else ""
            yield Number(f"failed responses of {side}", f"{errors:,} of {requests:,}{rate}", limit)
    if "error_ratio_low" in values and int(values.get("candidate_errors", 0)) + int(values.get("stable_errors", 0)):
        low, high = float(values["error_ratio_low"]), float(values["error_ratio_high"])
        reach = f"{low:.2g} to {high:.2g}" if high < _FAR else f"at least {low:.2g}"
        yield Number("candidate fails", f"{reach} times as often as stable (95% sure)")


def _responses(values: Mapping[str, Any]) -> Iterator[Number]:
    """Yield the kinds of responses of which the candidate has more than stable."""
    for mix in values.get("responses") or ():
        candidate, stable = float(mix["candidate_part"]), float(mix["stable_part"])
        if candidate > stable:
            told = f"{_percent(candidate)} of the candidate's responses, {_percent(stable)} of stable's"
            yield Number(one_line(mix["kind"]), told, f"at most {_percent(float(mix['limit']))}")


def _worse(values: Mapping[str, Any]) -> Iterator[Number]:
    if "evidence" in values:
        yield Number("evidence that it is worse", _evidence(values["evidence"]), _needed(values.get("evidence_needed")))
    parts = values.get("parts") or {}
    for name, part in parts.items() if len(parts) > 1 else ():
        yield Number(f"  by {name}", _evidence(part["evidence"]))


def _needed(evidence: Any) -> str:
    """Return from where on it is worse, and how many releases that are as good as stable ever get there."""
    if not evidence:
        return ""
    return f"worse at {float(evidence):,.0f} (at most 1 in {float(evidence):,.0f} good ones)"


def _proofs(values: Mapping[str, Any]) -> Iterator[Number]:
    if float(values.get("evidence", 0)) >= float(values.get("evidence_needed", "inf")):
        return  # what is worse is not asked whether it is no worse
    for name, proof in (values.get("proofs") or {}).items():
        more = proof.get("answers_needed")
        left = f", about {about(int(more))} more {proof.get('unit', 'responses')} needed" if more else ""
        limit = ""
        if "limit" in proof:
            write = _percent if name == "errors" else latency
            limit = f"below {write(proof['limit'])} (stable {write(proof['stable'])})"
        yield Number(f"no worse in {name}", f"{100 * float(proof['progress']):.0f}% proven{left}", limit)


def _step(values: Mapping[str, Any]) -> Iterator[Number]:
    if "step_requests" in values:
        needed = int(values.get("requests_needed") or 0)
        yield Number(
            "responses in this step", count(int(values["step_requests"])), f"at least {needed:,}" if needed else ""
        )
    if "unseen" in values:
        yield Number("failure rate that would not have been seen", f"up to {_percent(float(values['unseen']))}")
    if values.get("few"):
        yield Number("failed responses left out, as a few addresses gave most", count(int(values["few"])))
    if values.get("lost"):
        yield Number("responses that were not seen", count(int(values["lost"])))


def _rest(values: Mapping[str, Any]) -> Iterator[Number]:
    for key, value in values.items():
        if key not in _TOLD:
            yield Number(key.replace("_", " "), f"{value:.4g}" if isinstance(value, float) else one_line(value))


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.3g}%"


def _evidence(value: float) -> str:
    return "over 10^15" if value >= 1e15 else f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
