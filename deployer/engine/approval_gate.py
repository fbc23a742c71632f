"""Approval: the gate at which people are waited for, while what users get goes on being compared."""

from __future__ import annotations

from typing import Any

from deployer.core.clock import Deadline
from deployer.core.errors import Aborted, Exit, NotApproved
from deployer.engine.controls import Hold
from deployer.engine.observation import LOOK_SECONDS
from deployer.engine.run import Drive
from deployer.engine.waiting import WaitingStep, looking
from deployer.model import FULL
from deployer.planning.steps import Approve, span
from deployer.store import Vote


def approved(run: Drive, step: Approve, n: int, until: float) -> dict[str, Any]:
    """Wait until as many have approved as it takes; return who did, for the journal.

    Raises Aborted when one of them refuses. At the end of the wait (Unix seconds) it does what the step says.
    """
    # From here on by the monotonic clock: a wall clock that is set must neither cut it short nor draw it out.
    deadline = Deadline.after(run.clock, min(max(until - run.clock.now(), 0.0), step.deadline))
    voices = run.store.approvals.at(run.rollout.number, n, until)
    run.tell("approval.asked", **_asked(run, step, n, until, voices))
    heard = {voice.event for voice in voices}
    share = step.share if step.share < FULL else 0  # with all users on it the bake has looked before
    with looking(run, WaitingStep(n, share, bool(step.instances), step.deadline), deadline) as look:
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
    """Report to those who look at this process what others said: it is in the store already."""
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
