"""What a replay found, as a view."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from deployer.core.errors import Exit
from deployer.evidence.replay import Judgement, Policy, ReplayedWatch, ReplaySource
from deployer.manifest.models import Judge
from deployer.manifest.shape import spelt
from deployer.model import Counts
from deployer.planning.steps import percent
from deployer.views.data import JudgementView, SideView, StageView
from deployer.views.why import unopposed

EXITS = {"passes": Exit.DONE, "worse": Exit.VERDICT, "inconclusive": Exit.INCONCLUSIVE}


def judged(source: ReplaySource, found: Judgement, under: Policy, recorded: Policy) -> JudgementView:
    """Return what a policy decided; what came after the decision is not counted."""
    last = found.deciding
    passed = found.stages[: found.stages.index(last) + 1]
    candidate = sum((s.candidate for s in passed), Counts())
    header = source.header
    return JudgementView(
        file=str(source.path),
        service=str(header.get("service", "")),
        rollout=int(header.get("rollout", 0)),
        decision=found.decision,
        exit=int(EXITS[found.decision]),
        text=_text(found),
        at=last.began + last.after - found.began,
        share=last.watching.share,
        answers=candidate.requests,
        errors=candidate.errors,
        seen=candidate.errors - sum(s.shielded for s in passed),
        stages=tuple(map(_stage, found.stages)),
        policy=written(under.judge),
        changed=tuple(_changes(spelt(recorded.judge), spelt(under.judge))),
        notes=tuple(_notes(found, under.judge)),
    )


def _text(found: Judgement) -> str:
    """Return why; for what passes it is the last comparison that speaks."""
    if found.decision != "passes":
        return found.deciding.verdict.text
    compared = [s.verdict for s in found.stages if "stable_requests" in s.verdict.values]
    verdict = (compared or [found.deciding.verdict])[-1]
    text, values = verdict.at_its_time()
    return unopposed({**values, "verdict": verdict.kind, "text": text})


def written(judge: Judge) -> dict[str, Any]:
    """Return a policy as it would be written in a manifest."""
    return judge.model_dump(mode="json", by_alias=True)


def side(counts: Counts) -> SideView:
    """Return what one side answered."""
    p50, p95, p99 = (counts.quantile(q) for q in (0.5, 0.95, 0.99))
    return SideView(counts.requests, counts.errors, p50, p95, p99)


def _stage(stage: ReplayedWatch) -> StageView:
    return StageView(
        share=stage.watching.share,
        following=stage.watching.following,
        fixed=stage.watching.seconds,
        outcome=stage.outcome,
        after=stage.after,
        proved=stage.proved,
        text=stage.verdict.text,
        stable=side(stage.stable),
        candidate=side(stage.candidate),
        seen=stage.candidate.errors - stage.shielded,
        values=dict(stage.verdict.values),
    )


def _changes(old: Any, new: Any, path: str = "judge") -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(k for k in new if k not in old)]:
            yield from _changes(old.get(key), new.get(key), f"{path}.{key}")
    elif old != new:
        yield f"{path}: {old} → {new}"


def _notes(found: Judgement, policy: Judge) -> Iterator[str]:
    if policy.metrics:
        names = ", ".join(metric.name for metric in policy.metrics)
        yield f"judged by responses alone: metrics are not in a recording ({names})"
    if found.cut:
        yield "the recording had reached its largest size and ends early"
    if found.lost:
        yield f"{found.lost:,} requests were not seen by the recorder"
    later = [percent(s.watching.share) for s in found.stages if s.outcome == "inconclusive"]
    if found.decision == "inconclusive" and len(found.stages) > 1:
        yield f"not proved at {', '.join(later)}: a rollout would have rested at the first of them (judge.undecided)"
