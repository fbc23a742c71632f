"""The walk along a plan: forward to the end, or back, as the journal says."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from deployer.core.clock import Deadline
from deployer.core.errors import Aborted, DeployError, Detached, Exit, LockLost, Refused, StepFailed, TakenBack
from deployer.core.secret import hide
from deployer.engine import endings
from deployer.engine.controls import Hold
from deployer.engine.lease_renewer import LeaseRenewer
from deployer.engine.perform import Doing, perform
from deployer.engine.run import Drive
from deployer.model import Phase
from deployer.planning.orders import RolloutResult
from deployer.planning.steps import Approve, Handover, Observe, Promote, Share, Step, Watch
from deployer.store import AuditEntry
from deployer.store.set_turn import GoesForward


def drive(run: Drive, *, pulse: bool = True) -> RolloutResult:
    """Bring the rollout to an end, or to a hold, from wherever its journal is.

    Raise LockLost when another process took over: it alone goes on then. Raise NeedsPerson when the store takes nothing
    any more, Detached when a signal said to leave it.
    """
    run.learn_secrets()
    with run.closing, endings.leaving(run), LeaseRenewer(run) if pulse else nullcontext():
        _lease_again(run)
        return _forward(run) or _back(run)


def abort(run: Drive, by: str, reason: str) -> RolloutResult:
    """Take back a rollout in progress that no living process drives.

    Past the commit point there is nothing to abort: the caller offers `rollback` instead. An adjustment of which every
    step is done is brought to its end.
    """
    if run.rollout.phase == "forward" and run.store.journal.left(run.rollout):
        _lease_again(run)
        try:
            run.traffic.look_back()
        except StepFailed as error:
            run.tell("note", text=f"what the proxy did meanwhile could not be read: {error.message}")
        try:
            run.turn_back(_next(run), Aborted(f"aborted by {by}" + (f": {reason}" if reason else ""), by=by))
        except GoesForward as decided:
            raise Refused(
                f"r{run.rollout.release} is not rolled back: {decided.message}",
                "`deploy release resume` promotes all of it; after that `deploy release rollback` rolls all of it back",
            ) from decided
    return drive(run)


def _turned(run: Drive, n: int, error: DeployError) -> bool:
    """Record that the rollout is rolled back; return whether it is: not where its set was promoted just now."""
    try:
        run.turn_back(n, error)
    except GoesForward as decided:  # by another member, since this one was looked at last
        run.tell("note", text=f"not rolled back, as {decided.message}")
        run.traffic.given = None  # users are promoted also where an emergency has taken them back
        return False
    return True


def _lease_again(run: Drive) -> None:
    """Renew the lease of a held rollout's share before anything is recorded: the process that runs it may die.

    Raise Refused when the proxy does not take it; the rollout stays paused.
    """
    if run.rollout.outcome != "paused":
        return
    try:
        run.traffic.begin_lease()
    except StepFailed as error:
        raise Refused(
            f"rollout {run.rollout.number} stays paused: its share cannot be leased again: {error.message}",
            error.hint or "see `deploy doctor`",
        ) from error


def _next(run: Drive) -> int:
    return next((n for n, _ in run.store.journal.left(run.rollout)), 0)


# -- forward


def _forward(run: Drive) -> RolloutResult | None:
    """Walk to the end, or to a hold. Return None where the way is back: the journal says so, or a step failed."""
    if run.rollout.phase == "back" or not _take_up(run):
        return None
    for n, step in run.store.journal.left(run.rollout):
        try:
            if n <= run.rollout.plan.commit and not run.bound:
                run.look()
                _refuse_overspent(run, step)
            _carry_out(run, "forward", n, step)
        except Hold as hold:
            return endings.hold(run, hold)
        except (LockLost, Detached):
            raise
        except Exception as error:  # noqa: BLE001 - a bug of ours must not leave users on a candidate that nobody watches
            return _failed(run, n, step, _recordable(error))
    return endings.done(run)


def _take_up(run: Drive) -> bool:
    """Go on with what an earlier drive was asked and had reached. Return False when its users were taken back."""
    run.controls.recall()
    reached = _share_reached(run)
    try:
        if reached is not None:
            if run.group is not None:
                from deployer.engine.meeting import await_inner

                await_inner(run)
            run.traffic.take_up(reached)
    except TakenBack as error:
        return not _turned(run, _next(run), error)
    except StepFailed as error:
        # The step that comes next finds out what is wrong, and turns back with its reason.
        run.tell("note", text=f"the share could not be given again: {error.message}")
    return True


def _share_reached(run: Drive) -> Share | None:
    """Return the share that the rollout had reached; None before the first, and from the commit point on."""
    n, plan = _next(run), run.rollout.plan
    if n > plan.commit or run.bound:
        return None
    return next((step for step in reversed(plan.forward[:n]) if isinstance(step, Share)), None)


def _refuse_overspent(run: Drive, step: Step) -> None:
    """Go no step further with a candidate that the proxy gives no users any more, unless a person promotes it.

    A watch looks by itself, and has more patience with a proxy that is being restarted.
    """
    if not run.controls.hurry and not isinstance(step, Watch):
        run.traffic.spending.check(f"r{run.rollout.release}", 0)


def _failed(run: Drive, n: int, step: Step, error: DeployError) -> RolloutResult | None:
    if isinstance(error, Refused):  # "nothing was changed" is no longer true in the middle of a rollout
        error = StepFailed(error.message, error.hint)
    _tell_failure(run, "forward", n, step, error)
    if n > run.rollout.plan.commit or run.bound:
        run.store.journal.failed(run.lock, run.rollout.number, "forward", n, error)
        live = f"r{run.rollout.release} is live, but tidying up failed"
        late = f"the set of r{run.rollout.release} is promoted, and r{run.rollout.release} is not yet"
        return endings.stuck(run, f"{live if n > run.rollout.plan.commit else late}: {error.message}")
    return None if _turned(run, n, error) else _forward(run)


# -- back


def _back(run: Drive) -> RolloutResult:
    for n, step in run.store.journal.left(run.rollout, "back"):
        try:
            _carry_out(run, "back", n, step)
        except LockLost:
            raise
        except DeployError as failed:
            error = _recordable(failed)
            _tell_failure(run, "back", n, step, error)
            run.store.journal.failed(run.lock, run.rollout.number, "back", n, error)
            if run.rollout.plan.adjusts:
                break  # it keeps nobody from a deploy or a rollback; what is left is seen when somebody looks again
            return endings.stuck(run, f"the rollback failed: {error.message}")
    return endings.reverted(run)


# -- one step


def _carry_out(run: Drive, phase: Phase, n: int, step: Step) -> None:
    """Write that a step is tried, do it, and write what came of it."""
    if isinstance(step, Approve) and run.controls.approved:
        _pass_approved(run, n, step)
        return
    until = _until(run, step)
    began = run.clock.monotonic()
    entry = run.store.journal.began(run.lock, run.rollout.number, phase, n, until)
    run.tell(
        "step.began",
        phase=phase,
        n=n,
        of=len(run.rollout.plan.steps(phase)),
        step=step.kind,
        text=step.explain(),
        deadline=step.deadline,
        until=entry.until or run.clock.now() + step.deadline,
    )
    if isinstance(step, Promote) and run.bound:
        from deployer.engine.set_promotion import stand_again

        stand_again(run, n, entry)
    detail = perform(run, step, Doing(n, entry, Deadline.after(run.clock, step.deadline)))
    if phase == "forward" and n == run.rollout.plan.commit:
        run.store.rollouts.promoted(run.lock, run.rollout, n, detail, run.controls.promoted_by)
    else:
        run.store.journal.done(run.lock, run.rollout.number, phase, n, detail, _approval(run, step, detail))
    run.proxies.report()
    seconds = round(run.clock.monotonic() - began, 3)
    run.tell("step.done", phase=phase, n=n, step=step.kind, text=step.explain(), seconds=seconds)


def _until(run: Drive, step: Step) -> float:
    """Return the moment at which a step is over that takes its time; a resumed one keeps it."""
    if isinstance(step, Watch | Observe | Handover):
        return run.clock.now() + step.seconds
    return run.clock.now() + step.deadline if isinstance(step, Approve) and step.count else 0.0


def _approval(run: Drive, step: Step, detail: Mapping[str, Any]) -> AuditEntry | None:
    """Return what the audit log keeps of a gate that people let pass."""
    if not isinstance(step, Approve):
        return None
    by = ", ".join(detail.get("by", ())) or run.controls.by
    how = "forced" if detail.get("forced") else "done"
    return AuditEntry.of(run.rollout, "approve", how, by=by, detail=step.explain())


def _pass_approved(run: Drive, n: int, step: Step) -> None:
    """Pass the approval that a person gave with `resume`: one write with the end of the hold, or a crash asks again."""
    run.controls.approved = False
    detail = {"approved": True}
    run.store.rollouts.approved(run.lock, run.rollout.number, n, detail, _approval(run, step, detail))
    run.tell("step.done", phase="forward", n=n, step=step.kind, text=step.explain(), seconds=0.0)


def _tell_failure(run: Drive, phase: Phase, n: int, step: Step, error: DeployError) -> None:
    log: tuple[str, ...] = error.log if isinstance(error, StepFailed) else ()
    said = {"error": error.message, "hint": error.hint, "exit": int(error.exit), "log": list(log)}
    run.tell("step.failed", phase=phase, n=n, step=step.kind, **said)


def _recordable(error: Exception) -> DeployError:
    """Return an error as it is written down: without secrets that it repeats from elsewhere; a bug as a failed step."""
    if not isinstance(error, DeployError):
        import traceback

        trace = "".join(traceback.format_exception(error)).splitlines()[-12:]
        error = StepFailed(f"internal error: {type(error).__name__}: {error}", "please report this", log=tuple(trace))
        error.exit = Exit.INTERNAL
    error.message, error.hint = hide(error.message), hide(error.hint)
    if isinstance(error, StepFailed):
        error.log = tuple(map(hide, error.log))
    return error
