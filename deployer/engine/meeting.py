"""The gate at which the rollouts of a set meet, and the decision that all of them follow.

Each rollout has its own process or thread, lock and journal; what the others have reached is read from their journals.
Whoever comes last to the gate before the promotion decides that all go forward; a rollout that turns back has written
in the same transaction that all go back, which the others see at their next look.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deployer.core.clock import Deadline
from deployer.core.errors import Exit, StepFailed
from deployer.engine.controls import Hold
from deployer.engine.observation import LOOK_SECONDS
from deployer.engine.run import Drive
from deployer.engine.set_decision import refuse_turned
from deployer.engine.waiting import WaitingStep, looking
from deployer.planning.meeting import Meet
from deployer.planning.steps import named, span

if TYPE_CHECKING:
    from deployer.store import Rollout
    from deployer.store.sets import ReleaseSet

PAUSED_SECONDS = 5.0  # that another member is paused, before this one is: `resume` takes them up one by one
GONE_SECONDS = 60.0  # without a process that runs the rollout of another member


def meet(run: Drive, step: Meet, n: int, deadline: Deadline) -> dict[str, Any]:
    """Wait until the others of the set are as far; the last gate returns only when all go forward.

    Raise StepFailed when one of them has turned back or is run by nobody, Hold when one is paused.
    """
    meeting = _Meeting(run, step, n)
    run.look()  # what was asked by now comes before the decision
    if not meeting.over():
        wait = WaitingStep(n, step.share, bool(step.instances), step.deadline)
        with looking(run, wait, deadline) as look:
            while True:
                run.look()
                if not run.controls.hurry:
                    look()
                if meeting.over():
                    break
                if deadline.passed():
                    raise StepFailed(
                        f"{named(meeting.behind)} did not reach this gate within {span(step.deadline)}",
                        "`deploy release status` shows what each waits for",
                    )
                run.clock.sleep(LOOK_SECONDS)
    return {"met": list(step.others)}


class _Meeting:
    """The others of a set, as one of them sees them from its gate."""

    def __init__(self, run: Drive, step: Meet, n: int) -> None:
        self._run, self._step, self._n = run, step, n
        self._left_at: float | None = None  # since when no process runs the rollout of another one
        self._told: tuple[str, ...] = ()
        self.behind: tuple[str, ...] = ()  # who has not reached this gate

    def over(self) -> bool:
        """Return whether all are as far; at the last gate, whether all go forward."""
        group = self._run.group
        if group is None:
            raise StepFailed("the state database does not know the set of this rollout", "see `deploy doctor`")
        if self._run.bound:
            return True
        refuse_turned(self._run.store, group, self._run.service)
        others = self._others(group)
        self.behind = tuple(sorted(r.service for r in others if self._reached(r) < self._step.at))
        self._refuse_left(others)
        if self.behind:
            self._tell(len(others))
            return False
        if not self._step.decides:
            return True
        if any(other.outcome == "paused" for other in others):
            return False  # it was asked to wait: nobody decides for it
        return self._run.store.sets.decide_forward(self._run.lock, group.number) == "forward"

    def _others(self, group: ReleaseSet) -> tuple[Rollout, ...]:
        rollouts = self._run.store.rollouts
        return tuple(rollouts.get(m.rollout) for m in group.moved if m.rollout != self._run.rollout.number)

    def _reached(self, other: Rollout) -> int:
        """Return how far another rollout is: its furthest gate, which it has passed or waits at."""
        begun = {entry.n for entry in self._run.store.journal.of(other.number) if entry.phase == "forward"}
        gates = (s.at for n, s in enumerate(other.plan.forward) if n in begun and isinstance(s, Meet))
        return max(gates, default=-1)

    def _refuse_left(self, others: tuple[Rollout, ...]) -> None:
        """Raise Hold with one that is paused, and StepFailed for one that nobody has run for a while."""
        locks, now = self._run.store.locks, self._run.clock.monotonic()
        left = [other for other in others if other.open and locks.read(other.service) is None]
        if not left:
            self._left_at = None
            return
        self._left_at = now if self._left_at is None else self._left_at
        waited = now - self._left_at
        paused = tuple(other.service for other in left if other.outcome == "paused")
        if paused and waited >= PAUSED_SECONDS:
            raise Hold(Exit.DONE, f"paused with {named(paused)}; `deploy resume` goes on with all of the set")
        if waited >= GONE_SECONDS:
            raise StepFailed(
                f"nothing has run the rollout of {named(tuple(o.service for o in left))} for {span(GONE_SECONDS)}",
                "`deploy release status` says why; `deploy resume` ends its rollback, too",
            )

    def _tell(self, of: int) -> None:
        if self.behind == self._told:
            return
        self._told, there = self.behind, of - len(self.behind)
        text = f"waiting for {named(self.behind)}"
        self._run.tell("step.progress", n=self._n, text=text, done=there, of=of)
