"""Judging a recording again: what a policy would have decided, and when.

The judge sees the looks that were recorded, at the times at which they were made, so that the recorded policy comes to
the verdicts of the rollout itself. Another policy is judged on the same traffic: what users would have got under
shares that were never given is not known, and not made up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from deployer.core.errors import Refused
from deployer.evidence.recording import Cut, Looked, Mark, NoRecording, RecordedDrive, RecordedStep, read
from deployer.evidence.request_log import NEEDED, RequestLog, is_log
from deployer.judge import Verdict, Verdicts
from deployer.manifest.models import Judge
from deployer.model import Counts, Sample

_HINT = f"give what `deploy record` wrote, or a log of requests: {NEEDED}"

# Seconds before the end of a watch at which its last look may be: it begins in the journal, then in the recording.
_LATE = 0.5


class ReplaySource(Protocol):
    """A recording, or something that reads like one."""

    @property
    def path(self) -> Path:
        """Where it is."""
        ...

    @property
    def header(self) -> Mapping[str, Any]:
        """What the first drive says of itself."""
        ...

    def __iter__(self) -> Iterator[Mark]: ...


@dataclass(frozen=True)
class Policy:
    """How a stream is judged: the section `judge` of a manifest, and what of `traffic` the judge must know."""

    judge: Judge
    sticky: bool
    routes: tuple[str, ...] = ()


@dataclass(frozen=True)
class JudgedLook:
    """One look as the judge saw it: Unix time, place of its watch (from 0), what it found, what the judge said."""

    at: float
    watch: int
    began: float
    watching: RecordedStep
    sample: Sample
    verdict: Verdict


def spoken(looks: Sequence[JudgedLook]) -> JudgedLook:
    """Return the last look whose answers were given under the share of its watch, else the last.

    What is answered between two watches is looked at once more before the next: its verdict is about another share.
    """
    return next((look for look in reversed(looks) if look.sample.share == look.watching.share), looks[-1])


@dataclass(frozen=True)
class ReplayedWatch:
    """What a policy made of one watch; `after` is seconds in it until its outcome, or until its recorded end.

    `proved`: proven no worse than the margins, rather than seen enough in a watch of fixed time. Counts are those
    until the outcome; `shielded` of the candidate's errors were not seen by users.
    """

    watching: RecordedStep
    began: float
    outcome: str  # worse, passes, inconclusive
    after: float
    verdict: Verdict
    stable: Counts
    candidate: Counts
    shielded: int = 0
    proved: bool = False


@dataclass(frozen=True)
class Judgement:
    """What a policy decided on a whole recording: worse, passes, or inconclusive; the stage at which it did."""

    decision: str
    stages: tuple[ReplayedWatch, ...]
    began: float
    cut: bool = False
    lost: int = 0

    @property
    def deciding(self) -> ReplayedWatch:
        """The stage that decided: the first that was found worse, or that could not be judged; else the last."""
        if self.decision == "passes":
            return self.stages[-1]
        return next(s for s in self.stages if s.outcome == self.decision)


def open_source(path: Path) -> ReplaySource:
    """Open a recording or a log of requests. Raises Refused for a file that is neither."""
    if is_log(path):
        return RequestLog(path)
    try:
        return read(path)
    except NoRecording as error:
        raise Refused(f"{path} is neither a recording nor a log of requests: {error.lacks}", _HINT) from None


def recorded_policy(source: ReplaySource) -> Policy:
    """Return the policy that a recording was made under; the default one for a log of requests."""
    header = source.header
    judge = Judge.model_validate(header.get("judge") or {})
    return Policy(judge, bool(header.get("sticky")), tuple(header.get("routes") or ()))


def looks(source: Iterable[Mark], policy: Policy) -> Iterator[JudgedLook]:
    """Judge a recording look by look; each drive has a judge of its own, as it had in the rollout."""
    verdicts = _new(policy)
    offset, watch, began, watching = 0.0, -1, 0.0, None
    for mark in source:
        match mark:
            case RecordedDrive():
                verdicts, watching = _new(policy), None
                offset = float(mark.header.get("started_at", 0.0)) - float(mark.header.get("monotonic", 0.0))
            case RecordedStep():
                watch, began, watching = watch + 1, mark.at + offset, _under(policy, mark)
                verdicts.begin(mark.share, mark.following)
            case Looked() if watching:
                verdict = verdicts.observe(mark.sample, mark.at)
                yield JudgedLook(mark.at + offset, watch, began, watching, mark.sample, verdict)


def _under(policy: Policy, step: RecordedStep) -> RecordedStep:
    """Return a step as the policy has it: where a proof is required, its time alone does not end it."""
    return replace(step, seconds=0.0, early=False) if step.early and policy.judge.proof == "required" else step


def _new(policy: Policy) -> Verdicts:
    return Verdicts(policy.judge, sticky=policy.sticky, routes=policy.routes)


def judge(source: ReplaySource, policy: Policy) -> Judgement:
    """Run a policy over a recording. Raises Refused when nothing was watched in it."""
    cut: list[Cut] = []
    stages: list[_Stage] = []
    lost = 0
    for seen in looks(_noting(source, cut), policy):
        if not stages or stages[-1].watch != seen.watch:
            stages.append(_Stage(seen))
        stages[-1].add(seen)
        lost += seen.sample.lost
        if seen.verdict.kind == "worse":
            break  # users would have gone back here
    if not stages:
        raise Refused(f"{source.path}: no watch in it saw anything", "record while a candidate has users")
    ended = tuple(stage.result() for stage in stages)
    outcomes = [stage.outcome for stage in ended]
    decision = next((o for o in ("worse", "inconclusive") if o in outcomes), "passes")
    return Judgement(decision, ended, ended[0].began, bool(cut), lost)


def _noting(source: Iterable[Mark], cut: list[Cut]) -> Iterator[Mark]:
    for mark in source:
        if isinstance(mark, Cut):
            cut.append(mark)
        yield mark


class _Stage:
    """One watch while it is gone through; what comes after its outcome is not counted."""

    def __init__(self, first: JudgedLook) -> None:
        self.watch = first.watch
        self._first = self._last = first
        self._outcome = ""
        self._proved = False
        self._stable, self._candidate, self._shielded = Counts(), Counts(), 0

    def add(self, seen: JudgedLook) -> None:
        if self._outcome:
            return
        self._last = spoken((self._last, seen))
        self._stable += seen.sample.stable
        self._candidate += seen.sample.candidate
        self._shielded += seen.sample.shielded
        if seen.verdict.kind == "worse":
            self._outcome = "worse"
        elif self._passed(seen):
            self._outcome, self._proved = "passes", seen.verdict.kind == "no worse"

    def _passed(self, seen: JudgedLook) -> bool:
        fixed = seen.watching.seconds
        if (seen.watching.early or not fixed) and seen.verdict.kind == "no worse":
            return True
        return bool(fixed) and seen.at - seen.began >= fixed and seen.verdict.enough

    def result(self) -> ReplayedWatch:
        last = self._last
        fixed = last.watching.seconds
        if not self._outcome and fixed and last.at - last.began >= fixed - _LATE and last.verdict.enough:
            self._outcome = "passes"
        return ReplayedWatch(
            last.watching,
            self._first.began,
            self._outcome or "inconclusive",
            last.at - self._first.began,
            last.verdict,
            self._stable,
            self._candidate,
            self._shielded,
            self._proved,
        )
