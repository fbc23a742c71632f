"""Watching instances that get no requests: the gate of a worker. They must go on running, and metrics must be good."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from deployer.core.clock import Deadline
from deployer.core.errors import CannotJudge, DeadlinePassed, DriverFailed, Exit, StepFailed, VerdictWorse
from deployer.engine.controls import Hold
from deployer.engine.gates import crashed, ended
from deployer.engine.metrics import MetricWatch
from deployer.engine.patience import Patience
from deployer.engine.run import Drive
from deployer.judge.metrics import Kind
from deployer.planning.steps import Observe, Start, span

LOOK_SECONDS = 0.25  # between two looks at the metrics
INSTANCE_SECONDS = 1.0  # between two looks at the instances
TELL_SECONDS = 5.0  # between two lines of progress


def observe(run: Drive, step: Observe, n: int, until: float, deadline: Deadline) -> dict[str, Any]:
    """Watch until the step's time is over (Unix seconds) and all metrics that count are good. Return what is kept.

    Raise StepFailed when an instance ended, VerdictWorse when a metric says so, CannotJudge or Hold when one has said
    nothing by the deadline.
    """
    with closing(InstanceWatch(run, step, n, until)) as watched:
        while True:
            run.look()
            if run.controls.hurry:
                return {"verdict": "skipped", "text": "a person promoted"}
            kind, text = watched.look()
            if watched.over and kind == "no worse":
                return {"verdict": "passed", "text": "; ".join(filter(None, (watched.text, text)))}
            if deadline.passed():
                return _undecided(run, step, text or watched.text)
            run.clock.sleep(LOOK_SECONDS)


def meanwhile(run: Drive, n: int, seconds: float) -> InstanceWatch:
    """Watch what the steps before the one numbered `n` have started, for as long as that step takes."""
    there = max((s.instances for s in run.rollout.plan.forward[:n] if isinstance(s, Start)), default=0)
    step = Observe(
        seconds=seconds,
        release=run.rollout.release,
        colour=run.colour,
        instances=there,
        of=max(there, run.candidate.size(run.colour)),
        deadline=seconds,
    )
    return InstanceWatch(run, step, n, run.clock.now() + seconds)


class InstanceWatch:
    """The instances and metrics of one watch, as they were seen last."""

    def __init__(self, run: Drive, step: Observe, n: int, until: float) -> None:
        self._run, self._step, self._n = run, step, n
        self._metrics = MetricWatch(run, step, compared=bool(run.rollout.plan.origin))
        now = run.clock.monotonic()
        # From here on by the monotonic clock: a wall clock that is set must neither cut it short nor draw it out.
        self._end = now + min(max(until - run.clock.now(), 0.0), step.seconds)
        self._next, self._next_told = now, now
        self._patience = Patience(run)
        self.text = ""

    @property
    def over(self) -> bool:
        """Return whether the time is over, and the instances were seen at the last look."""
        return not self._patience.out and self._run.clock.monotonic() >= self._end

    def close(self) -> None:
        """End: what is being read is given up."""
        self._metrics.close()

    def look(self) -> tuple[Kind, str]:
        """See that all of them run, and what the metrics say.

        Raise StepFailed, with its last lines, when one has ended, VerdictWorse when a metric is beyond its limit.
        """
        self._look_at_instances()
        kind, text = self._metrics.look()
        if kind == "worse":
            raise VerdictWorse(f"r{self._step.release} is worse: {text}", "fix it and deploy again")
        return kind, text

    def _look_at_instances(self) -> None:
        now = self._run.clock.monotonic()
        if now < min(self._next, self._end):
            return
        try:
            self._see()
        except (DriverFailed, DeadlinePassed) as error:
            self._patience.hear(error)
        else:
            self._patience.ended()
        self._next = now + INSTANCE_SECONDS
        if now >= self._next_told:
            self._next_told = now + TELL_SECONDS
            self._tell(now)

    def _see(self) -> None:
        step = self._step
        there = self._run.instances(step.colour, step.release)
        if dead := ended(there):
            raise crashed(self._run, dead)
        ill = [i for i in there if i.health == "unhealthy" or i.state == "paused"]
        if ill or len(there) < step.instances:
            how = ", ".join(f"{i.name}: {'paused' if i.state == 'paused' else i.health}" for i in ill)
            what = how or f"{len(there)} of {step.instances} instances are left"
            raise StepFailed(f"r{step.release}: {what}", "see `deploy logs`, then deploy a fixed release")
        self.text = f"{step.what} ran without an exit"

    def _tell(self, now: float) -> None:
        whole, gone = max(1, round(self._step.seconds)), round(self._step.seconds - max(0.0, self._end - now))
        text = f"{self._step.what} watched for {gone} of {whole} s"
        self._run.tell("step.progress", n=self._n, text=text, done=gone, of=whole)


def _undecided(run: Drive, step: Observe, missing: str) -> dict[str, Any]:
    """Do what the manifest says about a watch that has come to its deadline without an answer."""
    seen = f"inconclusive: {step.what} within {span(step.deadline)}: {missing}"
    match run.release(step.release).manifest.judge.undecided:
        case "proceed":
            return {"verdict": "inconclusive", "text": missing}
        case "revert":
            raise CannotJudge(seen, "see that the metric has data; `judge.undecided` says what to do without")
        case _:
            raise Hold(Exit.INCONCLUSIVE, f"{seen}; `deploy resume` goes on watching, `deploy promote`, `deploy abort`")
