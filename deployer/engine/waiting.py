"""What goes on while a rollout waits for somebody: its candidate is looked at, however long that takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from deployer.core.clock import Deadline
from deployer.core.errors import VerdictWorse
from deployer.engine.instance_watch import meanwhile
from deployer.engine.metrics import MetricWatch
from deployer.engine.observation import LOOK_SECONDS, AnalysisStep
from deployer.engine.run import Drive
from deployer.planning.steps import Share, Watch


@dataclass(frozen=True)
class WaitingStep:
    """A wait: its step, the share that the candidate has meanwhile (basis points), and its longest time.

    `instances` where the candidate gets no requests, and its instances are looked at.
    """

    n: int
    share: int
    instances: bool
    seconds: float


@contextmanager
def looking(run: Drive, wait: WaitingStep, deadline: Deadline) -> Iterator[Callable[[], object]]:
    """Yield what looks at both sides once. It raises StepFailed where the candidate must not go on."""
    if wait.instances:
        with closing(meanwhile(run, wait.n, deadline.left())) as watched:
            yield watched.look
        return
    if not wait.share:
        yield lambda: None
        return
    before = [s for s in run.rollout.plan.forward[: wait.n] if isinstance(s, Share)]
    watch = Watch(
        seconds=max(deadline.left(), LOOK_SECONDS),
        share=wait.share,
        release=run.rollout.release,
        colour=run.colour,
        against="baseline" if before and before[-1].baseline else "stable",
        deadline=wait.seconds,
    )
    with closing(MetricWatch(run, watch, compared=bool(run.rollout.plan.origin))) as metrics:
        watching = AnalysisStep(run, watch, run.clock.now() + watch.seconds, metrics)

        def look() -> None:
            verdict = watching.look()
            if verdict.kind == "worse":
                watching.say(verdict)
                watching.see_the_dead()
                raise VerdictWorse(f"r{watch.release} is worse: {verdict.text}", "fix it and deploy again")

        yield look
