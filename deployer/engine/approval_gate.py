"""Approval: the gate at which people are waited for, while what users get goes on being compared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from deployer.core.clock import Deadline
from deployer.core.errors import Aborted, Exit, NotApproved, VerdictWorse
from deployer.engine.controls import Hold
from deployer.engine.instance_watch import meanwhile
from deployer.engine.metrics import MetricWatch
from deployer.engine.observation import LOOK_SECONDS, AnalysisStep
from deployer.engine.run import Drive
from deployer.model import FULL
from deployer.planning.steps import Approve, Share, Watch, span
from deployer.store import Vote


def approved(run: Drive, step: Approve, n: int, until: float) -> dict[str, Any]:
    """Wait until as many have approved as it takes; give who did, for the journal.

    Raises Aborted when one of them refuses. At the end of the wait (Unix seconds) it does what the step says.
    """
    # From here on by the monotonic clock: a wall clock that is set must neither cut it short nor draw it out.
    deadline = Deadline.after(run.clock, min(max(until - run.clock.now(), 0.0), step.deadline))
    voices = run.store.approvals.at(run.rollout.number, n, until)
    run.tell("approval.asked", **_asked(run, step, n, until, voices))
    heard = {voice.event for voice in voices}
    with _looking(run, step, n, deadline) as look:
        while True:
            run.look()
            voices = run.store.approvals.at(run.rollout.number, n, until)
            _repeat(run, [voice for voice in voices if voice.event not in heard])
            heard.update(voice.event for voice in voices)
            if refusal := next((voice for voice in voices if voice.refused), None):
                raise Aborted(f"refused by {refusal.by}: {refusal.reason}", by=refusal.by)
            if len(voices) >= step.count:
                return {"approved": True, "by": [voice.by for voice in voices]}
            if run.controls.forced:
                return {"approved": False, "forced": True, "by": [run.controls.by]}
            if deadline.passed():
                _expire(run, step, n, voices)
            look()
            run.clock.sleep(LOOK_SECONDS)


def _asked(run: Drive, step: Approve, n: int, until: float, voices: tuple[Vote, ...]) -> dict[str, Any]:
    return {
        "n": n,
        "whose": step.whose(),
        "by": list(step.by),
        "role": step.role,
        "count": step.count,
        "given": [voice.by for voice in voices],
        "share": step.share,
        "until": until,
        "expired": step.expired,
        "text": f"r{run.rollout.release} waits for the approval of {step.whose()}: `deploy approve`",
    }


def _repeat(run: Drive, voices: list[Vote]) -> None:
    """Tell those who look at this process what others said: it is in the store already."""
    if voices:
        known = {voice.event for voice in voices}
        for event in run.store.events.of(run.rollout.number, min(known) - 1):
            if event.id in known:
                run.sink(event)


def _expire(run: Drive, step: Approve, n: int, voices: tuple[Vote, ...]) -> None:
    given = ", ".join(voice.by for voice in voices) or "nobody"
    seen = f"not approved within {span(step.deadline)}: it takes {step.whose()}, and {given} did"
    run.tell("approval.expired", n=n, whose=step.whose(), given=[voice.by for voice in voices], text=seen)
    if step.expired == "hold":
        ways = "`deploy resume` asks again, `deploy abort` rolls it back"
        raise Hold(Exit.INCONCLUSIVE, f"{seen}; {ways}", again=n)
    raise NotApproved(seen, "deploy again when they are there; `approve.within` gives them more time")


@contextmanager
def _looking(run: Drive, step: Approve, n: int, deadline: Deadline) -> Iterator[Any]:
    """Give what looks at both sides meanwhile: users are on the candidate, however long people take."""
    if step.instances:
        with closing(meanwhile(run, n, deadline.left())) as watched:
            yield watched.look
        return
    if not 0 < step.share < FULL:
        yield lambda: None
        return
    before = [s for s in run.rollout.plan.forward[:n] if isinstance(s, Share)]
    watch = Watch(
        seconds=max(deadline.left(), LOOK_SECONDS),
        share=step.share,
        release=run.rollout.release,
        colour=run.colour,
        against="baseline" if before and before[-1].baseline else "stable",
        deadline=step.deadline,
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
