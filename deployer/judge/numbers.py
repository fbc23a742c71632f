"""The numbers of a verdict, beside their limits: plain data, for events, reports and people who ask why."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from deployer.judge.comparison import Bettor, Comparison, Proof
from deployer.judge.margin import Margin
from deployer.judge.plan import IN_PRACTICE
from deployer.judge.totals import Totals
from deployer.model import Counts

if TYPE_CHECKING:
    from deployer.manifest.models import Judge

_LARGEST = 1e15  # evidence beyond this is not written out; JSON knows no infinity
_MOST_ANSWERS = 1e12
_MOST_KINDS = 5


def compared(seen: Totals, comparison: Comparison, proofs: Sequence[Proof], config: Judge, unit: str) -> dict[str, Any]:
    """Return the numbers of a comparison with stable; `unit` is what its proofs count."""
    low, high = comparison.errors.ratio.interval()
    return {
        **_side("candidate", seen.candidate),
        **_side("stable", seen.stable),
        "limit": comparison.errors.tolerated,
        "evidence": evidence(comparison.log_worse),
        "evidence_needed": 1 / config.alpha,
        "error_ratio_low": round(low, 4),
        "error_ratio_high": round(high, 4),
        "parts": {bettor.name: _bettor(bettor) for bettor in comparison.bettors if not bettor.feature},
        "responses": list(_mix(seen, comparison, config)),
        "proofs": {proof.name: _proof(proof, config.beta, unit) for proof in proofs},
    }


def against_limit(candidate: Counts, log_evidence: float, config: Judge) -> dict[str, Any]:
    """Return the numbers of a release that stands alone."""
    return {
        **_side("candidate", candidate),
        "limit": config.errors.max,
        "evidence": evidence(log_evidence),
        "evidence_needed": 1 / config.alpha,
    }


def evidence(log: float) -> float:
    """Write evidence out, to four digits."""
    return float(f"{math.exp(min(log, math.log(_LARGEST))):.4g}")


def still_needed(proof: Proof, beta: float) -> int | None:
    """Estimate how many more responses, of both sides, a proof takes if the candidate is as good as stable."""
    missing = math.log(1 / beta) - proof.log_evidence
    if missing <= 0:
        return 0
    if proof.growth <= 0:
        return None
    return math.ceil(min(_MOST_ANSWERS, IN_PRACTICE * missing / proof.growth))


def _bettor(bettor: Bettor) -> dict[str, float]:
    return {"weight": round(bettor.weight, 4), "evidence": evidence(bettor.log_evidence)}


def _mix(seen: Totals, comparison: Comparison, config: Judge) -> Iterator[dict[str, Any]]:
    """Yield the kinds of responses of the whole service with the most evidence against the candidate."""
    bettors = [b for b in comparison.bettors if b.feature and not b.route]
    for bettor in sorted(bettors, key=lambda b: b.log_evidence, reverse=True)[:_MOST_KINDS]:
        if bettor.feature and config.responses:
            having, good = seen.having(bettor.feature), seen.stable.requests - seen.stable.errors
            stable = having.stable / good if good else 0.0
            limit = min(1.0, Margin(config.responses.margin, config.responses.add).of(stable))
            yield {
                "kind": bettor.name,
                "candidate": having.candidate,
                "candidate_part": round(having.candidate / having.answers, 6) if having.answers else 0.0,
                "stable": having.stable,
                "stable_part": round(stable, 6),
                "limit": round(limit, 6),
                "evidence": evidence(bettor.log_share),
            }


def _proof(proof: Proof, beta: float, unit: str) -> dict[str, Any]:
    numbers: dict[str, Any] = {
        "evidence": evidence(proof.log_evidence),
        "evidence_needed": 1 / beta,
        "progress": round(min(1.0, max(0.0, proof.log_evidence / math.log(1 / beta))), 3),
        "answers_needed": still_needed(proof, beta),
        "unit": unit,
    }
    if proof.limits:
        numbers |= {"stable": float(f"{proof.limits[0]:.4g}"), "limit": float(f"{proof.limits[1]:.4g}")}
    return numbers


def _side(name: str, seen: Counts) -> dict[str, float | int]:
    rate = seen.errors / seen.requests if seen.requests else 0.0
    return {f"{name}_requests": seen.requests, f"{name}_errors": seen.errors, f"{name}_rate": rate}
