"""How a drive ends: the rollout done or reverted, held or stuck for a person, or left to another process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from deployer.core.errors import DeployError, Detached, Exit, LockLost, NeedsPerson, StepFailed, StoreFailed
from deployer.engine import downtime
from deployer.engine.controls import Hold
from deployer.engine.run import Drive
from deployer.model import other
from deployer.planning.orders import RolloutResult
from deployer.planning.plan import ROLLBACK


def done(run: Drive) -> RolloutResult:
    """Write that the release is live, and that nothing is left to do."""
    if run.rollout.plan.adjusts:
        text = f"{_why(run)}: done"
    else:
        text = f"r{run.rollout.release} ({run.candidate.version}) is live{_gap(run)}"
    lost = run.proxies.summary()
    # Users of a lost proxy are on what a rollback leaves until somebody brings it back.
    bad = run.rollout.plan.strategy == ROLLBACK and run.proxies.keeps(other(run.colour))
    exit_code = Exit.NEEDS_PERSON if bad else Exit.DONE
    return _ended(run, RolloutResult("done", exit_code, f"{text}{lost}", run.rollout.number))


def reverted(run: Drive) -> RolloutResult:
    """Write that the way back was gone to its end, and what turned the rollout."""
    code, why = run.store.journal.cause(run.rollout)
    if run.rollout.plan.adjusts:
        text = f"{_why(run)}: not done, {why}"
    else:
        text = f"r{run.rollout.release} was rolled back: {why}{_gap(run)}"
    text += run.proxies.summary()
    code = Exit.NEEDS_PERSON if run.proxies.keeps(run.colour) and not run.rollout.plan.adjusts else code
    return _ended(run, RolloutResult("reverted", Exit(code), text, run.rollout.number))


def _why(run: Drive) -> str:
    """Return what an adjustment is made for."""
    return "; ".join(run.rollout.plan.notes)


def _gap(run: Drive) -> str:
    return downtime.say(downtime.downtime(run.rollout.plan, run.store.journal.of(run.rollout.number)))


def stuck(run: Drive, text: str) -> RolloutResult:
    """Write that a person is needed where neither way goes on."""
    text += "; `deploy resume` tries again, `deploy status` shows what is live"
    result = RolloutResult("needs-attention", Exit.NEEDS_PERSON, text, run.rollout.number)
    return _told(run, result, last=run.store.rollouts.needs_attention(run.lock, run.rollout, result))


def hold(run: Drive, hold: Hold) -> RolloutResult:
    """Write that the rollout waits for a person; its share stays as it is."""
    result = RolloutResult("paused", hold.exit, hold.text, run.rollout.number)
    last = run.store.rollouts.paused(run.lock, run.rollout, result, hold.by, run.controls.heard, hold.again)
    # Only what is recorded as paused may keep its share for long: whoever is killed in between leaves a short lease.
    try:
        run.traffic.keep_share()
        live = run.traffic.read()
        share = live.share if live else 0
    except StepFailed as error:
        share = 0
        run.tell("note", text=f"the share runs out soon, its lease could not be prolonged: {error.message}")
    until = run.traffic.kept_until if share else 0
    run.tell("rollout.paused", **run.traffic.told(share), text=hold.text, exit=int(hold.exit), until=until)
    _hooks(run, "paused")
    if last:
        _tell_set(run)
    return result


@contextmanager
def leaving(run: Drive) -> Iterator[None]:
    """Report why a drive stops in this block where it cannot go on, and leave users safe. It raises anyway."""
    try:
        yield
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


def _unrecorded(run: Drive, failed: StoreFailed) -> NeedsPerson:
    """Move users back to stable at once: nobody can go on with a rollout of which nothing can be recorded."""
    where = ""
    try:
        if run.traffic.end_share():
            where = "; everyone is on stable again"
    except DeployError as error:
        where = f"; the share runs out by itself, it could not be ended: {error.message}"
    return NeedsPerson(
        f"rollout {run.rollout.number} stopped half way: {failed.message}{where}",
        f"{failed.hint or 'fix that'}; then `deploy resume` or `deploy abort`",
    )


def _ended(run: Drive, result: RolloutResult) -> RolloutResult:
    kept = run.candidate.manifest.keep.events
    last = run.store.rollouts.ended(run.lock, run.rollout, result, events=kept, owed=run.owed)
    return _told(run, result, last=last)


def _told(run: Drive, result: RolloutResult, *, last: bool) -> RolloutResult:
    """Report how a rollout ended; also how its set did, of which it is the `last` one."""
    took = round(run.clock.now() - run.rollout.started_at, 3)
    run.tell("rollout.ended", outcome=result.outcome, exit=int(result.exit), text=result.text, seconds=took)
    _hooks(run, result.outcome)
    if last:
        _tell_set(run)
    return result


def _tell_set(run: Drive) -> None:
    if run.group is not None:
        from deployer.engine import set_ending

        run.tell("set.ended", **set_ending.told(run.store, run.group))


def _hooks(run: Drive, outcome: str) -> None:
    """Run the hooks of an ending; their failure is reported, the ending stays what it is. An adjustment has none."""
    if run.rollout.plan.adjusts:
        return
    hooks, when = run.candidate.manifest.hooks, f"on_{outcome.replace('-', '_')}"
    wanted = getattr(hooks, when) + (hooks.on_failure if outcome in ("reverted", "needs-attention") else ())
    if not wanted:
        return
    from deployer.engine.hooks import play_all  # which few manifests have

    extra: dict[str, Any] = {"deployer_when": when, "deployer_rollout": str(run.rollout.number)}
    try:
        environment = run.environment(run.colour, run.rollout.release)
        play_all(run, run.candidate, environment, wanted, extra)
    except DeployError as error:
        run.tell("note", text=f"a hook of the ending failed: {error.message}")
