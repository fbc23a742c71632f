"""Watching: the gate at which the candidate is compared with what users have, and must not be worse."""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import replace
from typing import Any

from deployer.core.clock import Deadline
from deployer.core.errors import (
    BudgetSpent,
    CannotJudge,
    DeadlinePassed,
    DeployError,
    DriverFailed,
    Exit,
    LockLost,
    StepFailed,
    VerdictWorse,
)
from deployer.engine.controls import Hold
from deployer.engine.gates import crashed, ended, last_words
from deployer.engine.lease_renewer import beat
from deployer.engine.metrics import MetricWatch
from deployer.engine.patience import Patience
from deployer.engine.run import Drive
from deployer.engine.watch_totals import WatchTotals
from deployer.judge.verdicts import Verdict
from deployer.model import FULL, Place, other
from deployer.planning.steps import Watch, percent, span

LOOK_SECONDS = 0.25  # between two looks at the samples
INSTANCE_SECONDS = 1.0  # between two looks at the instances
REMEDY = (
    "take a larger share (`--percent 50`) or more time (`--within 1h`), or move all users at once: `deploy bluegreen`"
)


def watch(run: Drive, step: Watch, until: float, deadline: Deadline) -> dict[str, Any]:
    """Compare until the step's time is over (Unix seconds) and enough was seen, or until it is shown to be no worse.

    What is still missing at the deadline makes it undecided. Gives what is kept in the journal.
    """
    with closing(MetricWatch(run, step, compared=step.share < FULL and bool(run.rollout.plan.origin))) as metrics:
        watching = AnalysisStep(run, step, until, metrics)
        try:
            return _watch(run, step, watching, deadline)
        except LockLost:
            raise
        except BudgetSpent:
            run.clock.sleep(LOOK_SECONDS)  # nobody gets the candidate any more: the lines of the last answers may come
            watching.say_last()
            raise
        except (DeployError, Hold):
            watching.say_last()
            raise


def _watch(run: Drive, step: Watch, watching: AnalysisStep, deadline: Deadline) -> dict[str, Any]:
    while True:
        run.look()
        if run.controls.hurry:
            watching.say_last()
            return skipped()
        verdict = watching.look()
        if verdict.kind == "worse":
            watching.say(verdict)
            watching.see_the_dead()
            raise VerdictWorse(f"r{step.release} is worse: {verdict.text}", "fix it and deploy again")
        if watching.passes(verdict):
            watching.say(verdict)
            return watching.detail(verdict)
        if deadline.passed():
            watching.say(verdict)
            return _undecided(run, step, watching.missing(verdict), watching.detail(verdict))
        run.clock.sleep(LOOK_SECONDS)


def skipped() -> dict[str, Any]:
    """Return what is kept of a watch for which a person did not wait."""
    return {"verdict": "skipped", "text": "a person promoted"}


class AnalysisStep:
    """One watch in progress: what both sides answered in it, and whether all that it needs is still running."""

    def __init__(self, run: Drive, step: Watch, until: float, metrics: MetricWatch) -> None:
        self._run, self._step, self._metrics = run, step, metrics
        self._tally = WatchTotals()
        self._began = run.clock.monotonic()
        # From here on by the monotonic clock: a wall clock that is set must neither cut it short nor draw it out.
        self._end = self._began + min(max(until - run.clock.now(), 0.0), step.seconds)
        self._next_instances = 0.0
        self._patience = Patience(run)
        self._gone: set[Place] = set()  # of which the last look found no instance up
        self._waits = False  # for a metric
        self._said = False
        run.evidence.begin(step)

    def look(self) -> Verdict:
        """Look at the world, then at what was answered; raises StepFailed when there is nothing left to compare."""
        self._look_around()
        verdict = self._take()
        if verdict.kind != "worse" and (worse := self._run.evidence.stable.worse):
            release = self._step.release
            ways = f"`deploy promote` gives everyone r{release}, `deploy abort` leaves them on stable as it is"
            raise Hold(Exit.INCONCLUSIVE, f"{worse}; {ways}")
        self._follow_budget()
        proof = _proof(verdict) if self._step.proves else {}  # a step of fixed time asks for none
        verdict = self._joined(verdict)
        self._run.evidence.show(**self._event(), **proof, **self._so_far(verdict), **self._overtime(verdict))
        return verdict

    def _take(self) -> Verdict:
        sample, verdict = self._run.evidence.look()
        self._tally.add(sample)
        self._run.sides.look(sample.arrived)
        return verdict

    def _joined(self, verdict: Verdict) -> Verdict:
        """Join the verdict on the requests with those of other sources: worse if any is, no worse if all are."""
        kind, text = self._metrics.look()
        self._waits = kind == "inconclusive"
        if verdict.kind == "worse" or kind == "no worse":
            return verdict
        if kind == "worse":
            return replace(verdict, kind=kind, text=text, enough=False)
        shown = verdict.kind == "no worse" or verdict.enough
        return replace(verdict, kind=kind, text=text if shown else f"{verdict.text}; {text}", enough=False)

    @property
    def _over(self) -> bool:
        """Return whether the time of a step of fixed time is over."""
        return bool(self._step.seconds) and self._run.clock.monotonic() >= self._end

    def _enough(self, verdict: Verdict) -> bool:
        """Return whether enough was seen for a step that its time may end; one that needs a proof asks for more."""
        return verdict.enough and bool(self._step.seconds)

    def _so_far(self, verdict: Verdict) -> dict[str, Any]:
        """Return what the judge says at this look, beside the numbers of the same look."""
        return {"verdict": verdict.kind, "text": verdict.text, "enough": self._enough(verdict)}

    def _overtime(self, verdict: Verdict) -> dict[str, str]:
        """Return what a step of fixed time still waits for when its time is over."""
        return {"waits": self.missing(verdict)} if self._over and not self.passes(verdict) else {}

    def missing(self, verdict: Verdict) -> str:
        """Return what a step lacks that does not pass."""
        if self._patience.out:
            return "there is no response from the proxy or the runtime"
        answers = self._tally.sum.candidate.requests
        if not self._step.seconds or self._waits or answers >= self._step.requests:
            return verdict.text
        return f"the candidate has {answers:,} of at least {self._step.requests:,} responses"

    def passes(self, verdict: Verdict) -> bool:
        """Return whether the step has what it needs to go on."""
        if self._patience.out or self._waits:
            return False
        least_over = self._run.clock.monotonic() >= self._began + self._step.least
        if self._step.proves and verdict.kind == "no worse" and least_over:
            return True
        return self._over and (verdict.enough or not self._step.requests)

    def say(self, verdict: Verdict) -> None:
        """Report what was found at the end of the watch, and what both sides answered in it."""
        run, self._said = self._run, True
        enough = self._enough(verdict)
        text, values = verdict.at_its_time() if enough else (verdict.text, verdict.values)
        told = {"verdict": verdict.kind, "text": text, "enough": enough, "watched": self._watched()}
        run.tell("verdict", **told, **values)
        run.evidence.tell_shield()
        run.sides.tell_more()

    def say_last(self) -> None:
        """Report what is known of a watch that something else than its verdict ends, up to its last answer."""
        if not self._said:
            verdict = self._take()
            self._run.evidence.show(**self._event())
            self.say(verdict)

    def detail(self, verdict: Verdict) -> dict[str, Any]:
        """Return what is kept of the watch."""
        return {**self._event(), "verdict": verdict.kind, "text": verdict.text}

    def _watched(self) -> dict[str, Any]:
        seconds = self._run.clock.monotonic() - self._began
        return {"seconds": round(seconds, 3), **self._event()}

    def _event(self) -> dict[str, Any]:
        spending = self._run.traffic.spending
        return {**self._tally.event(self._step.share), "spent": spending.spent, "budget": spending.limit}

    def _follow_budget(self) -> None:
        run, spending = self._run, self._run.traffic.spending
        spending.tolerated = max(spending.tolerated, run.evidence.verdicts.tolerated_errors)
        if spending.behind:
            beat(run)

    def _look_around(self) -> None:
        """See that all stands that is compared, and that the budget is not spent.

        A proxy that is killed and comes back keeps share, lease and budget by itself: its silence is waited out. So is
        a command of another service that holds the proxy's lock for long.
        """
        run, now = self._run, self._run.clock.monotonic()
        try:
            self._check_budget()
            if now >= self._next_instances:
                self._still_alive(self._step.colour, self._step.release)
                if self._step.against == "baseline":
                    self._still_alive("baseline", run.rollout.origin)
                self._next_instances = now + INSTANCE_SECONDS
        except (DriverFailed, DeadlinePassed) as error:
            self._patience.hear(error)
        else:
            self._patience.ended()

    def _check_budget(self) -> None:
        try:
            self._run.traffic.spending.check(f"r{self._step.release}", self._run.evidence.answered)
        except BudgetSpent:
            self.see_the_dead()
            raise

    def see_the_dead(self) -> None:
        """Raise StepFailed when an instance of the candidate has ended: its last words tell more than numbers do.

        An engine that does not respond now leaves it at the numbers.
        """
        with suppress(DriverFailed):
            instances = self._run.instances(self._step.colour, self._step.release)
            if dead := ended(instances):
                raise crashed(self._run, dead)

    def _still_alive(self, place: Place, release: int) -> None:
        run = self._run
        instances = run.instances(place, release)
        if dead := ended(instances):
            raise crashed(run, dead)
        if self._up(place):
            self._gone.discard(place)
        elif not self._up(other(self._step.colour)):  # nobody's fault: an engine begins again, or a host is gone
            raise DriverFailed(f"the proxy finds no instance up on either side of {run.service}", "see `deploy doctor`")
        elif place not in self._gone:  # stable answers for it meanwhile
            self._gone.add(place)
        else:  # its share goes nowhere: there is nothing left to compare
            log = last_words(run, instances[0]) if instances else ()
            raise StepFailed(f"the proxy finds no instance of r{release} ({place}) up", "see its log", log=log)

    def _up(self, place: Place) -> bool:
        return any(is_up for _, is_up in self._run.drivers.traffic.servers(self._run.service, place))


def _proof(verdict: Verdict) -> dict[str, Any]:
    """Return how far "no worse" is shown by what is shown least, and about how many more of which unit it takes."""
    proofs = list((verdict.values.get("proofs") or {}).values())
    if not proofs:
        return {}
    more = [proof["answers_needed"] for proof in proofs]
    shown, unit = min(proof["progress"] for proof in proofs), proofs[0]["unit"]
    return {"shown": shown, "more": None if None in more else max(more), "unit": unit}


def _undecided(run: Drive, step: Watch, missing: str, detail: dict[str, Any]) -> dict[str, Any]:
    """Do what the manifest says about a watch that has come to its deadline without an answer."""
    where = f"r{step.release} at {percent(step.share)} within {span(step.seconds or step.deadline)}"
    seen = f"inconclusive: {where}: {missing}"
    match run.release(step.release).manifest.judge.undecided:
        case "proceed":
            return detail
        case "revert":
            raise CannotJudge(seen, REMEDY)
        case _:
            raise Hold(Exit.INCONCLUSIVE, f"{seen}; `deploy resume` goes on watching, `deploy promote`, `deploy abort`")
