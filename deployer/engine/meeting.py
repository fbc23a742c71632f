"""The gate at which the rollouts of a set meet, and the decision that all of them follow.

Each rollout has its own process or thread, lock and journal; what the others have reached is read from their journals.
Whoever comes last to the gate before the promotion decides that all go forward; a rollout that turns back has written
in the same transaction that all go back, which the others see at their next look.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from deployer.core.clock import Deadline
from deployer.core.errors import DeadlinePassed, DriverFailed, Exit, StepFailed
from deployer.engine.controls import Hold
from deployer.engine.observation import LOOK_SECONDS
from deployer.engine.run import Drive
from deployer.engine.set_decision import refuse_turned
from deployer.engine.waiting import WaitingStep, looking
from deployer.planning.meeting import SETTLED, Meet
from deployer.planning.steps import named, span

if TYPE_CHECKING:
    from deployer.store import Rollout
    from deployer.store.sets import ReleaseSet

PAUSED_SECONDS = 5.0  # that another member is paused, before this one is: `resume` takes them up one by one
LEFT_SECONDS = 15.0  # the same once it is decided where all go: an order is not kept for one that is left
GONE_SECONDS = 60.0  # without a process that runs the rollout of another member


def meet(run: Drive, step: Meet, n: int, deadline: Deadline) -> dict[str, Any]:
    """Wait until the others of the set are as far; the last gate returns only when all go forward.

    Raise StepFailed when one of them has turned back or is run by nobody, Hold when one is paused.
    """
    gate: _Gate = (
        _Empty(run, step) if step.empty else _Settled(run, step) if step.at == SETTLED else _Meeting(run, step, n)
    )
    run.look()  # what was asked by now comes before the decision
    if not gate.over():
        wait = WaitingStep(n, 0 if step.at == SETTLED else step.share, bool(step.instances), step.deadline)
        with looking(run, wait, deadline) as look:
            while True:
                run.look()
                if not run.controls.hurry:
                    look()
                if gate.over():
                    break
                if deadline.passed():
                    gate.late()
                    break
                run.clock.sleep(LOOK_SECONDS)
    return {"met": list(step.others)}


def await_inner(run: Drive) -> None:
    """Wait until those behind this one in its chain have their share again: with the process all leases ran out.

    Not for long: they may be in nobody's hands, or have no share any more.
    """
    gates = (step for step in run.rollout.plan.forward if isinstance(step, Meet) and step.at == SETTLED)
    inner = next((gate.others for gate in gates), ())

    def has_share(service: str) -> bool:
        live = run.read_other(service)
        return live is None or bool(live.share and (not live.lease or live.lease > run.clock.now()))

    Deadline.after(run.clock, LEFT_SECONDS).wait(lambda: all(map(has_share, inner)))


class _Gate(Protocol):
    """What is waited for at a gate."""

    def over(self) -> bool:
        """Return whether it is so."""
        ...

    def late(self) -> None:
        """Do what is right when it is not so by the deadline: raise StepFailed, or go on."""
        ...


class _Empty:
    """A release that users have left, until the requests have ended that began there."""

    def __init__(self, run: Drive, step: Meet) -> None:
        self._run, self._place = run, step.empty

    def over(self) -> bool:
        """Return whether no request is in progress."""
        return self._busy() == 0

    def late(self) -> None:
        """Go on: what is still open lasts longer than requests are waited for."""
        busy = self._busy()
        what = "what is" if busy is None else f"{busy} request{'s' * (busy > 1)} or connection{'s' * (busy > 1)}"
        self._run.tell("note", text=f"{what} still open on {self._place}: not waited for any longer")

    def _busy(self) -> int | None:
        """Return how many requests and connections are open; None while the proxy does not say."""
        try:
            loads = self._run.drivers.inspection.load(self._run.service)
        except (DriverFailed, DeadlinePassed):
            return None
        return next((load.busy for place, load in loads.items() if place == self._place), 0)


class _Settled:
    """Others that come first in what was decided for all: it is not stopped any more, only kept in order."""

    def __init__(self, run: Drive, step: Meet) -> None:
        self._run, self._step = run, step
        self._left_at: float | None = None

    def over(self) -> bool:
        """Return whether they are through, or those that are not have been run by nobody for a while."""
        store, now = self._run.store, self._run.clock.monotonic()
        behind = self._behind()
        if any(store.locks.read(other.service) is not None for other in behind):
            self._left_at = None
            return False
        self._left_at = now if self._left_at is None else self._left_at
        return not behind or now - self._left_at >= LEFT_SECONDS

    def late(self) -> None:
        """Go on."""
        who = named(tuple(other.service for other in self._behind()))
        self._run.tell("note", text=f"not waited for any longer: {who}")

    def _behind(self) -> tuple[Rollout, ...]:
        group, store = self._run.group, self._run.store
        numbers = [m.rollout for m in group.moved if m.service in self._step.others] if group else []
        rollouts = (store.rollouts.get(number) for number in numbers)
        return tuple(r for r in rollouts if r.open and not store.journal.is_done(r.number, "forward", r.plan.commit))


class _Meeting:
    """The others of a set, as one of them sees them from its gate."""

    def __init__(self, run: Drive, step: Meet, n: int) -> None:
        self._run, self._step, self._n = run, step, n
        self._left_at: float | None = None  # since when no process runs the rollout of another one
        self._told: tuple[str, ...] = ()
        self.behind: tuple[str, ...] = ()  # who has not reached this gate

    def late(self) -> None:
        """Refuse to go on without the others."""
        raise StepFailed(
            f"{named(self.behind)} did not reach this gate within {span(self._step.deadline)}",
            "`deploy release status` shows what each waits for",
        )

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
                f"no process has run the rollout of {named(tuple(o.service for o in left))} for {span(GONE_SECONDS)}",
                "`deploy release status` says why; `deploy resume` ends its rollback, too",
            )

    def _tell(self, of: int) -> None:
        if self.behind == self._told:
            return
        self._told, there = self.behind, of - len(self.behind)
        text = f"waiting for {named(self.behind)}"
        self._run.tell("step.progress", n=self._n, text=text, done=there, of=of)
