"""What people ask of a rollout in progress: promote, abort, pause, resume; and following one from outside."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress

from deployer.app.migrations import contracting
from deployer.app.operations.context import AppContext
from deployer.app.operations.execution import ADJUSTING, committed, locked, run_of
from deployer.app.operations.reconcile import write_down
from deployer.core.clock import Deadline
from deployer.core.errors import Abandoned, Exit, Locked, LockLost, NothingInProgress, Refused
from deployer.emergency import record
from deployer.engine import RolloutResult, abort, drive
from deployer.planning.steps import Approve, Handover, Step, named
from deployer.store import WORDS, AuditEntry, Lock, Rollout, Store, whoami

FOLLOW_SECONDS = 0.2  # between two looks at another process's events
OTHERS_SECONDS = 30.0  # in which the lock of a rollout that has ended is free
FOLLOW_LIMIT = 24 * 3600.0


def open_rollout(house: AppContext, service: str, number: int = 0) -> Rollout:
    """Return the rollout in progress of a service. Raise NothingInProgress where it is not `number` (0: whichever)."""
    rollout = house.store.rollouts.in_progress(service)
    if rollout is None or number not in (0, rollout.number):
        raise NothingInProgress(service, number, rollout.number if rollout else 0)
    return rollout


def unapproved(store: Store, rollout: Rollout) -> tuple[Approve, ...]:
    """Return what people have still to approve before a rollout is promoted."""
    ahead = (step for n, step in store.journal.left(rollout) if n < rollout.plan.commit)
    return tuple(step for step in ahead if isinstance(step, Approve) and step.count)


def promote(
    house: AppContext, service: str, reason: str = "", *, force: bool = False, number: int = 0
) -> RolloutResult:
    """Finish a rollout in progress forward: watches and holds are passed without waiting.

    What people have still to approve is passed only by `force`, for a reason that is kept. Raises Refused without.
    """
    rollout = open_rollout(house, service, number)
    refuse_unpromotable(house, (service,), reason, force=force)
    if whose := _awaited(house.store, rollout):
        return _wish(house, rollout, "force", reason, f"without the approval of {whose}")
    return _wish(house, rollout, "promote", reason)


def refuse_unpromotable(house: AppContext, services: Iterable[str], reason: str, *, force: bool) -> None:
    """Raise Refused when one of these rollouts cannot be promoted by a request; ask nothing."""
    rollouts = tuple(r for service in services if (r := house.store.rollouts.in_progress(service)))
    if back := next((rollout for rollout in rollouts if rollout.phase == "back"), None):
        raise Refused(
            f"rollout {back.number} is rolling back: {back.text}",
            f"`deploy resume --service {back.service}` finishes the rollback",
        )
    waiting = [(rollout, whose) for rollout in rollouts if (whose := _awaited(house.store, rollout))]
    if waiting and not (force and reason):
        needed = "; ".join(f"rollout {r.number} of {r.service} needs the approval of {w}" for r, w in waiting)
        ways = " and ".join(f"`deploy approve --service {rollout.service}`" for rollout, _ in waiting)
        first = waiting[0][0].service
        raise Refused(
            f"{needed}: a promotion does not replace it",
            f'wait for it, {ways}; or skip it, which is recorded: `deploy promote --service {first} --force -m "why"`',
        )


def _awaited(store: Store, rollout: Rollout) -> str:
    """Return who has still to approve a rollout before it is promoted; "" for nobody."""
    return " and that of ".join(step.whose() for step in unapproved(store, rollout))


def stop(house: AppContext, service: str, reason: str = "", *, number: int = 0) -> RolloutResult:
    """Abort: stop a rollout in progress and go back; that of a `number`, where one is given."""
    if house.store.rollouts.in_progress(service) is None and (ended := _ended_already(house, service)):
        return ended
    if number and not (meant := house.store.rollouts.get(number)).open:
        return _as_asked(meant.result)
    rollout = open_rollout(house, service, number)
    if committed(house, rollout):
        raise Refused(
            f"r{rollout.release} is promoted already",
            "`deploy resume` finishes the rollout, `deploy rollback` returns to the release before",
        )
    ending = _as_asked(_wish(house, rollout, "abort", reason))
    record.remove(str(house.store.folder), service)
    return ending


def stop_running(house: AppContext, service: str, reason: str, allowed: Collection[str] = ()) -> None:
    """Wait until the rollout that another process runs has ended: rolled back for a `reason`, or done if promoted.

    Raise Refused where it is one of a set that has services which are not `allowed` (none: all).
    """
    rollout = house.store.rollouts.in_progress(service)
    if rollout is None or house.store.locks.read(service) is None:
        return  # whoever has the lock next settles what a dead process left
    refuse_shared(house.store, rollout, allowed)
    if not committed(house, rollout):
        _wish(house, rollout, "abort", reason)
        return
    with suppress(Abandoned):
        follow(house, rollout.number)


def refuse_shared(store: Store, rollout: Rollout, allowed: Collection[str]) -> None:
    """Raise Refused where a rollout is one of a set that has services which are not `allowed` (none: all)."""
    group = store.sets.of_rollout(rollout.number) if allowed and rollout.plan.meets else None
    if group is not None and (others := tuple(m.service for m in group.moved if m.service not in allowed)):
        raise Refused(
            f"{rollout.service} is released together with {named(others)}, in {group.title},"
            " which the token is not for",
            "ask somebody whose token is for all of them",
        )


def refuse_open(house: AppContext, service: str) -> None:
    """Raise Locked while a rollout of a service is in progress."""
    rollout = house.store.rollouts.in_progress(service)
    if rollout is not None:
        raise Locked(
            f"rollout {rollout.number} of {service} ({rollout.strategy}) is in progress",
            "`deploy watch` follows it; `deploy resume`, `deploy promote` or `deploy abort` ends it",
        )


def make_way(house: AppContext, service: str, reason: str) -> None:
    """Take back an adjustment in progress, and wait until its lock is free: nobody who deploys waits for its end."""
    deadline, asked = Deadline.after(house.clock, OTHERS_SECONDS), 0
    while not deadline.passed():
        rollout = house.store.rollouts.in_progress(service)
        if rollout is not None and contracting(house.store, rollout):
            return  # it is not taken back for others, and they do not wait for it
        if rollout is not None and rollout.adjusts and rollout.number != asked:
            asked = rollout.number
            _wish(house, rollout, "abort", reason)
        held = house.store.locks.read(service)
        if held is None or not held.purpose.startswith(ADJUSTING):
            return
        house.clock.sleep(FOLLOW_SECONDS)


def end_handover(house: AppContext, service: str, reason: str) -> bool:
    """Have another process leave open what it is closing after its promotion; return whether it was, and was asked."""
    rollout = house.store.rollouts.in_progress(service)
    if rollout is None or not committed(house, rollout):
        return False
    if not isinstance(_next_step(house, rollout), Handover):
        return False
    waits = f"so that {whoami()} need not wait for its end"
    house.store.requests.add(rollout, "promote", whoami(), reason, detail=waits)
    return True


def _ended_already(house: AppContext, service: str) -> RolloutResult | None:
    """Return the end of a rollout whose process saw at the proxy, before it was asked, that its users were gone."""
    noted = record.read(str(house.store.folder), service)
    newest = house.store.rollouts.of(service, 1)
    if noted is None or not newest or newest[0].outcome != "reverted" or (newest[0].ended_at or 0) < noted.at - 1:
        return None
    record.remove(str(house.store.folder), service)
    return RolloutResult("reverted", Exit.DONE, newest[0].text, newest[0].number)


def pause(house: AppContext, service: str, reason: str = "", *, number: int = 0) -> RolloutResult:
    """Pause the rollout in progress at its current share; `deploy resume` continues it."""
    rollout = open_rollout(house, service, number)
    if house.store.locks.read(service) is None:
        raise Refused(
            f"rollout {rollout.number} of {service} is not running: its process is gone",
            "`deploy resume` goes on, `deploy promote` finishes it, `deploy abort` rolls it back",
        )
    return _wish(house, rollout, "pause", reason)


def resume(house: AppContext, service: str, reason: str = "", *, number: int = 0) -> RolloutResult:
    """Go on with a rollout that was held, or whose process died; a hold for approval is approved by it."""
    if house.store.rollouts.in_progress(service) is None and not number and (written := write_down(house, service)):
        return written
    if house.store.rollouts.in_progress(service) is None and house.store.owed.of(service):
        with locked(house, service, "sending a notification"):  # whoever has the lock tells what is owed
            pass
    rollout = open_rollout(house, service, number)
    with locked(house, service, _purpose(house, "resume", rollout)) as lock:
        run = run_of(house, lock, house.store.rollouts.get(rollout.number))
        _record(house, lock, rollout, "resume", reason)
        run.controls.approved = run.rollout.outcome == "paused" and _at_approval(house, rollout)
        run.tell("rollout.resumed", phase=run.rollout.phase, by=whoami())
        return drive(run)


def _purpose(house: AppContext, kind: str, rollout: Rollout) -> str:
    release = house.store.releases.get(rollout.service, rollout.release)
    return f"{kind} of rollout {rollout.number}, {rollout.strategy} of {release.version} (r{release.number})"


def _at_approval(house: AppContext, rollout: Rollout) -> bool:
    pending = _next_step(house, rollout)
    return isinstance(pending, Approve) and not pending.count


def _next_step(house: AppContext, rollout: Rollout) -> Step | None:
    return next((step for _, step in house.store.journal.left(rollout)), None)


def _record(house: AppContext, lock: Lock, rollout: Rollout, kind: str, reason: str) -> None:
    house.store.audit.record(AuditEntry.of(rollout, kind, "begun", reason=reason), lock)


def _as_asked(ending: RolloutResult) -> RolloutResult:
    """An abort that went back is what was asked for: exit 0."""
    if ending.outcome == "reverted":
        return RolloutResult("reverted", Exit.DONE, ending.text, ending.rollout)
    return ending


def _wish(house: AppContext, rollout: Rollout, kind: str, reason: str, detail: str = "") -> RolloutResult:
    """Do it here when nobody drives the rollout who lives and answers, else ask the one who does and follow."""
    try:
        return _alone(house, rollout, kind, reason, detail)
    except LockLost:
        raise
    except Locked:
        if house.store.locks.read(rollout.service) is None:  # it has ended just now, or would not hear of it
            return _alone(house, rollout, kind, reason, detail)
    seen = house.store.events.last_id_of(rollout.number)
    house.store.requests.add(rollout, kind, whoami(), reason, detail=detail)
    house.tell(rollout.service, f"{WORDS.get(kind, kind)} asked of the process that runs rollout {rollout.number}")
    try:
        return follow(house, rollout.number, after=seen)
    except Abandoned as gone:
        if kind == "pause":
            raise
        house.tell(rollout.service, f"{gone.message}: doing it here")
    try:
        return _alone(house, rollout, kind, reason, detail)
    except LockLost:
        raise
    except Locked:  # who did not respond was only stopped, and goes on: it has been asked
        return follow(house, rollout.number, after=seen)


def _alone(house: AppContext, rollout: Rollout, kind: str, reason: str, detail: str = "") -> RolloutResult:
    """Do what is wished in this process. Raises Locked while another one has the lock."""
    with locked(house, rollout.service, _purpose(house, WORDS.get(kind, kind), rollout)) as lock:
        run = run_of(house, lock, house.store.rollouts.get(rollout.number))
        if not run.rollout.open and run.rollout.outcome:  # its process has ended it just now
            return run.rollout.result
        run.tell("rollout.resumed", phase="back" if kind == "abort" else run.rollout.phase, by=whoami())
        if kind == "abort":
            if run.rollout.phase == "back":  # else it is recorded with the turn that it is
                _record(house, lock, rollout, kind, reason)
            return abort(run, whoami(), reason)
        # For this very drive, and for whoever has to resume it.
        house.store.requests.add(rollout, kind, whoami(), reason, lock, detail=detail)
        return drive(run)


def follow(house: AppContext, number: int, *, after: int = 0, limit: float = FOLLOW_LIMIT) -> RolloutResult:
    """Show the events of a rollout that another process drives, until it ends or is held.

    Raise Abandoned when its process is gone.
    """
    deadline = Deadline.after(house.clock, limit)
    while not house.stop.asked.is_set():
        events = house.store.events.of(number, after)
        for event in events:
            house.sink(event)
            after = event.id
        rollout = house.store.rollouts.get(number)
        if rollout.outcome and not events:
            return rollout.result
        if not rollout.outcome and not events and house.store.locks.read(rollout.service) is None:
            raise Abandoned(rollout.number)
        deadline.check(f"following rollout {number}")
        house.clock.sleep(FOLLOW_SECONDS)
    return RolloutResult("paused", Exit.DONE, "no longer following; the rollout goes on", number)
