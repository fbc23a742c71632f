"""The walk along a plan: forward to the end, or back, as the journal says."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from deployer.core.clock import Deadline
from deployer.core.errors import (
    Aborted,
    DeployError,
    Detached,
    Exit,
    LockLost,
    NeedsPerson,
    Refused,
    StepFailed,
    StoreFailed,
    TakenBack,
)
from deployer.core.secret import hide
from deployer.engine.lease_renewer import LeaseRenewer
from deployer.engine.perform import Doing, perform
from deployer.engine.run import Drive, Hold
from deployer.model import Live, Phase, other
from deployer.planning.orders import RolloutResult
from deployer.planning.steps import Approve, Handover, Share, Step, Watch
from deployer.store import DEPLOYER, AuditEntry


def drive(run: Drive, *, pulse: bool = True) -> RolloutResult:
    """Bring the rollout to an end, or to a hold, from wherever its journal stands.

    Raises LockLost when another process took over: it alone goes on then. Raises NeedsPerson when the store takes
    nothing any more, Detached when a signal said to leave it.
    """
    run.learn_secrets()
    with run.closing:
        try:
            with LeaseRenewer(run) if pulse else nullcontext():
                return _drive(run)
        except LockLost:
            run.stand_down()
            raise
        except Detached as error:
            _leave(run, error)
            raise
        except StoreFailed as failed:
            person = _unrecorded(run, failed)
            _leave(run, person)
            raise person from failed


def _leave(run: Drive, error: DeployError) -> None:
    run.tell_at_least("rollout.detached", text=error.message, hint=error.hint, exit=int(error.exit))


def abort(run: Drive, by: str, reason: str) -> RolloutResult:
    """Take back a rollout in progress that no living process drives.

    Past the commit point there is nothing to abort: the caller offers `rollback` instead.
    """
    if run.rollout.phase == "forward":
        _leased(run)
        try:
            _left(run)
        except StepFailed as error:
            run.tell("note", text=f"what the proxy did meanwhile could not be read: {error.message}")
        text = f"aborted by {by}" + (f": {reason}" if reason else "")
        _turn(run, _next(run), Aborted(text, by=by))
    return drive(run)


def _unrecorded(run: Drive, failed: StoreFailed) -> NeedsPerson:
    """Give users back to stable at once: nobody can go on with a rollout of which nothing can be recorded."""
    where = ""
    try:
        if run.end_share():
            where = "; everyone is on stable again"
    except DeployError as error:
        where = f"; the share runs out by itself, it could not be ended: {error.message}"
    return NeedsPerson(
        f"rollout {run.rollout.number} stopped half way: {failed.message}{where}",
        f"{failed.hint or 'fix that'}; then `deploy resume` or `deploy abort`",
    )


def _drive(run: Drive) -> RolloutResult:
    _leased(run)
    if run.rollout.phase == "forward":
        if promoting := run.store.requests.promotion(run.rollout.number):
            run.promote_for(promoting)
        try:
            _reassert_share(run)
        except TakenBack as error:
            _turn(run, _next(run), error)
            return _back(run)
        return _forward(run)
    return _back(run)


def _next(run: Drive) -> int:
    return next((n for n in range(len(run.rollout.plan.forward)) if not _done(run, "forward", n)), 0)


def _leased(run: Drive) -> None:
    """Give the share of a held rollout its lease back before anything is recorded: whoever drives it may die.

    Raises Refused when the proxy does not take it; the rollout stays paused.
    """
    if run.rollout.outcome != "paused":
        return
    try:
        run.begin_lease()
    except StepFailed as error:
        raise Refused(
            f"rollout {run.rollout.number} stays paused: its share cannot be leased again: {error.message}",
            error.hint or "see `deploy doctor`",
        ) from error


def _done(run: Drive, phase: Phase, n: int) -> bool:
    entry = run.store.journal.entry(run.rollout.number, phase, n)
    return entry is not None and entry.state == "done"


def _reassert_share(run: Drive) -> None:
    """Give a resumed rollout the share that it had reached: its lease may have run out meanwhile.

    Raises TakenBack when it did not run out but was ended by a person.
    """
    reached: Share | None = None
    for n, step in enumerate(run.rollout.plan.forward):
        if not _done(run, "forward", n):
            break
        reached = step if isinstance(step, Share) else reached
        if n == run.rollout.plan.commit:
            return
    if reached is not None:
        try:
            if _adopt(run, reached):
                return  # the next step turns back for it; nobody would get the candidate now
            run.set_traffic(reached, Deadline.after(run.clock, reached.deadline))
        except StepFailed as error:
            # The step that comes next finds out what is wrong, and turns back with its reason.
            run.tell("note", text=f"the share could not be given again: {error.message}")


def _adopt(run: Drive, reached: Share) -> bool:
    """Go on from what an earlier drive of the rollout left in the proxy; tell whether its budget is spent.

    What it gave is compared with running: an emergency has taken the users back if the share is gone.
    """
    live = _left(run)
    if live is not None:
        run.given = replace(live, stable=other(run.colour), share=reached.share)
    return run.spending.over


def _left(run: Drive) -> Live | None:
    """Read what an earlier drive of the rollout left in the proxy, and tell what the proxy ended by itself since."""
    live = run.drivers.traffic.read(run.service)
    if live is None or live.rollout != run.rollout.number:
        return None
    run.look_at_lease(live)
    run.spending.adopt(live)
    run.spending.tell_over()
    return live


# -- forward


def _forward(run: Drive) -> RolloutResult:
    plan = run.rollout.plan
    for n, step in enumerate(plan.forward):
        if _done(run, "forward", n):
            continue
        try:
            if n <= plan.commit:
                run.look()
                _refuse_overspent(run, step)
            _one(run, "forward", n, step)
        except Hold as hold:
            return _hold(run, hold)
        except (LockLost, Detached):
            raise
        except DeployError as error:
            return _failed(run, n, step, _hidden(error))
        except Exception as error:  # noqa: BLE001 - a bug of ours must not leave users on a candidate that nobody watches
            trace = traceback.format_exc().splitlines()[-12:]
            return _failed(run, n, step, _hidden(_bug(error, trace)))
    text = f"r{run.rollout.release} ({run.candidate.version}) is live"
    return _ended(run, RolloutResult("done", Exit.DONE, text, run.rollout.number))


def _refuse_overspent(run: Drive, step: Step) -> None:
    """Go no step further with a candidate that the proxy gives no users any more, unless a person promotes it.

    A watch looks by itself, and has more patience with a proxy that is being restarted.
    """
    if not run.hurry and not isinstance(step, Watch):
        run.spending.check(f"r{run.rollout.release}", 0)


def _bug(error: Exception, trace: list[str]) -> StepFailed:
    failed = StepFailed(f"internal error: {type(error).__name__}: {error}", "please report this", log=tuple(trace))
    failed.exit = Exit.INTERNAL
    return failed


def _hidden(error: DeployError) -> DeployError:
    """Give an error without secrets that it repeats from elsewhere: it is written down."""
    error.message, error.hint = hide(error.message), hide(error.hint)
    if isinstance(error, StepFailed):
        error.log = tuple(map(hide, error.log))
    return error


def _failed(run: Drive, n: int, step: Step, error: DeployError) -> RolloutResult:
    if isinstance(error, Refused):  # "nothing was changed" is no longer true in the middle of a rollout
        error = StepFailed(error.message, error.hint)
    _tell_failure(run, "forward", n, step, error)
    if n > run.rollout.plan.commit:
        run.store.journal.failed(run.lock, run.rollout.number, "forward", n, error)
        return _stuck(run, f"r{run.rollout.release} is live, but tidying up failed: {error.message}")
    _turn(run, n, error)
    return _back(run)


def _turn(run: Drive, n: int, error: DeployError) -> None:
    if isinstance(error, TakenBack):
        error = run.taken_back()  # by whom and why, which a driver cannot know
    run.store.rollouts.turned_back(run.lock, run.rollout, n, error, run.heard)
    run.rollout = run.store.rollouts.get(run.rollout.number)
    run.tell("rollout.rolling_back", error=error.message, hint=error.hint, exit=int(error.exit))


def _hold(run: Drive, hold: Hold) -> RolloutResult:
    result = RolloutResult("paused", hold.exit, hold.text, run.rollout.number)
    run.store.rollouts.paused(run.lock, run.rollout, result, hold.by, run.heard, hold.anew)
    # Only what is recorded as paused may keep its share for long: whoever is killed in between leaves a short lease.
    try:
        run.keep_share()
        live = run.drivers.traffic.read(run.service)
        share = live.share if live else 0
    except StepFailed as error:
        share = 0
        run.tell("note", text=f"the share runs out soon, its lease could not be prolonged: {error.message}")
    until = run.kept_until if share else 0
    run.tell("rollout.paused", share=share, text=hold.text, exit=int(hold.exit), until=until)
    _hooks(run, "paused")
    return result


# -- back


def _back(run: Drive) -> RolloutResult:
    for n, step in enumerate(run.rollout.plan.back):
        if _done(run, "back", n):
            continue
        try:
            _one(run, "back", n, step)
        except LockLost:
            raise
        except DeployError as failed:
            error = _hidden(failed)
            _tell_failure(run, "back", n, step, error)
            run.store.journal.failed(run.lock, run.rollout.number, "back", n, error)
            return _stuck(run, f"the rollback failed: {error.message}")
    code, why = run.store.journal.cause(run.rollout)
    cause, text = Exit(code), f"r{run.rollout.release} was rolled back: {why}"
    return _ended(run, RolloutResult("reverted", cause, text, run.rollout.number))


# -- one step


def _one(run: Drive, phase: Phase, n: int, step: Step) -> None:
    if isinstance(step, Approve) and run.approved:
        _approved(run, n, step)
        return
    steps = run.rollout.plan.forward if phase == "forward" else run.rollout.plan.back
    until = _until(run, step)
    began = run.clock.monotonic()
    entry = run.store.journal.began(run.lock, run.rollout.number, phase, n, until)
    run.tell(
        "step.began",
        phase=phase,
        n=n,
        of=len(steps),
        step=step.kind,
        text=step.explain(),
        deadline=step.deadline,
        until=entry.until or run.clock.now() + step.deadline,
    )
    detail = perform(run, step, Doing(n, entry, Deadline.after(run.clock, step.deadline)))
    if phase == "forward" and n == run.rollout.plan.commit:
        run.store.rollouts.promoted(run.lock, run.rollout, n, detail, run.by if run.hurry else DEPLOYER)
    else:
        run.store.journal.done(run.lock, run.rollout.number, phase, n, detail, _approval(run, step, detail))
    seconds = round(run.clock.monotonic() - began, 3)
    run.tell("step.done", phase=phase, n=n, step=step.kind, text=step.explain(), seconds=seconds)


def _until(run: Drive, step: Step) -> float:
    """Give the moment at which a step is over that takes its time; a resumed one keeps it."""
    if isinstance(step, Watch | Handover):
        return run.clock.now() + step.seconds
    return run.clock.now() + step.deadline if isinstance(step, Approve) and step.count else 0.0


def _approval(run: Drive, step: Step, detail: Mapping[str, Any]) -> AuditEntry | None:
    """Give what the audit log keeps of a gate that people let pass."""
    if not isinstance(step, Approve):
        return None
    by = ", ".join(detail.get("by", ())) or run.by
    how = "forced" if detail.get("forced") else "done"
    return AuditEntry("approve", run.service, how, run.rollout.number, run.rollout.release, step.explain(), by=by)


def _approved(run: Drive, n: int, step: Step) -> None:
    """Pass the approval that a person gave with `resume`: one write with the end of the hold, or a crash asks again."""
    run.approved = False
    detail = {"approved": True}
    run.store.rollouts.approved(run.lock, run.rollout.number, n, detail, _approval(run, step, detail))
    run.tell("step.done", phase="forward", n=n, step=step.kind, text=step.explain(), seconds=0.0)


def _tell_failure(run: Drive, phase: Phase, n: int, step: Step, error: DeployError) -> None:
    log: tuple[str, ...] = error.log if isinstance(error, StepFailed) else ()
    said = {"error": error.message, "hint": error.hint, "exit": int(error.exit), "log": list(log)}
    run.tell("step.failed", phase=phase, n=n, step=step.kind, **said)


# -- endings


def _stuck(run: Drive, text: str) -> RolloutResult:
    text += "; `deploy resume` tries again, `deploy status` shows what is live"
    return _end(run, run.store.rollouts.needs_attention(run.lock, run.rollout, text))


def _ended(run: Drive, ending: RolloutResult) -> RolloutResult:
    kept = run.candidate.manifest.keep.events
    run.store.rollouts.ended(run.lock, run.rollout, ending, events=kept, owed=run.owed)
    return _end(run, ending)


def _end(run: Drive, ending: RolloutResult) -> RolloutResult:
    took = round(run.clock.now() - run.rollout.started_at, 3)
    run.tell("rollout.ended", outcome=ending.outcome, exit=int(ending.exit), text=ending.text, seconds=took)
    _hooks(run, ending.outcome)
    return ending


def _hooks(run: Drive, outcome: str) -> None:
    """Run the playbooks of an ending; their failure is reported, the ending stays what it is."""
    hooks, when = run.candidate.manifest.hooks, f"on_{outcome.replace('-', '_')}"
    playbooks = getattr(hooks, when) + (hooks.on_failure if outcome in ("reverted", "needs-attention") else ())
    if not playbooks:
        return
    extra: dict[str, Any] = {"deployer_when": when, "deployer_rollout": str(run.rollout.number)}
    try:
        environment = run.environment(run.colour, run.rollout.release)
        run.drivers.playbooks.play(
            run.candidate, environment, playbooks, extra, Deadline.after(run.clock, 300), run.tell
        )
    except DeployError as error:
        run.tell("note", text=f"a hook of the ending failed: {error.message}")
