"""Going back: which release, and the shortest right way to it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from deployer.core.errors import Refused
from deployer.model import Colour, Environment, Observed, Release, newest_good, other
from deployer.planning.plan import ROLLBACK, Plan
from deployer.planning.recipes import (
    PROXY_SECONDS,
    attach,
    keep_warm,
    remove,
    replacement,
    settle,
    share,
    start_on,
    twin,
    way_back,
)
from deployer.planning.steps import Promote, Step, named

if TYPE_CHECKING:
    from deployer.manifest.hook import RolloutHook

LATE_SECONDS = 600.0  # so long after users were brought back, a rollback without --to or --again moves nobody


def choose(
    releases: Sequence[Release], observed: Observed, current: int, to: int | None, *, force: bool, contracted: int = 0
) -> Release:
    """Choose the release to go back to: the one asked for, else the newest good one before the current.

    `releases` are sorted newest first. Raises Refused when there is none, or when it was itself rolled back or never
    got through a rollout (unless forced), and for one before the `contracted` release, whatever is forced.
    """
    by_number = {r.number: r for r in releases}
    if to is None:
        earlier = newest_good(releases, current)
        if earlier is None:
            raise Refused(
                f"there is no good release before r{current}",
                "`deploy history --releases` shows what became of each; `--to N --force` takes one anyway",
            )
        return _understood(earlier, contracted)
    if to not in by_number:
        raise Refused(f"there is no release r{to}", "`deploy history --releases` lists them")
    target = by_number[to]
    if to == current and observed.stable is not None and observed.stable.number == to:
        raise Refused(f"r{to} is live already", "there is nothing to do")
    if target.status != "good" and not force:
        why = {
            "rolled-back": "was itself rolled back",
            "failed": "failed its rollout",
            "new": "never finished a rollout",
        }
        raise Refused(f"{target.name} {why[target.status]}", "if it must be this one: --force")
    return _understood(target, contracted)


def _understood(target: Release, contracted: int) -> Release:
    """Return a release that understands the database. Raise Refused for one from before a contract."""
    if target.number >= contracted:
        return target
    raise Refused(
        f"{target.name} cannot come back: the contract of r{contracted} has begun, and r{target.number} does not"
        " understand the database any more",
        f"`deploy rollback --to N` with N from {contracted} on, or deploy a new release; `deploy history` has the ids"
        " of backups",
    )


def played_since(releases: Sequence[Release], target: int, current: int) -> str:
    """Return in words what was run, or may have been, since a release was live: it is not undone. Empty for nothing."""
    since = sorted((r for r in releases if target < r.number <= current), key=lambda r: r.number)
    ran = ", ".join(f"{', '.join(hook.name for hook in run)} with r{r.number}" for r in since if (run := _played(r)))
    if not ran:
        return ""
    since_then = f"playbooks or commands may have run since r{target} was live ({ran})"
    return f"{since_then}; they are not undone and may break r{target}"


def _played(release: Release) -> tuple[RolloutHook, ...]:
    """Return what is run in a rollout of a release, in its order; hooks of an ending only tell of it."""
    manifest = release.manifest
    expanded = manifest.migrate.expand if manifest.migrate else ()
    return (*manifest.hooks.before, *expanded, *manifest.update, *manifest.hooks.after)


def rollback_plan(observed: Observed, target: Release, current: Release) -> Plan:
    """Plan the way: one write when the target is still warm, else a blue-green from the recorded release.

    A host that is silent holds up nobody who goes back: what stands on the others is enough. Where one of the two
    must not run beside another release, the current one is stopped first.
    """
    if not target.may_run_beside(current):
        forward, back = replacement(observed, target, current)
        gap = "users get 503" if target.served else "nothing runs"
        note = f"one of the two must not run beside another release: {gap} from the stop of {current.name} on"
        notes = (f"back to {target.name}: {note}",)
        return Plan.make(target.service, ROLLBACK, current.number, target.number, forward, back, notes)
    ready = _is_ready(observed, target)
    silent = tuple(h for h in target.host_names(observed.colour) if h in observed.silent)
    resting = None if ready else _resting(observed, target)
    if resting is not None:
        forward = (*start_on(target, observed.colour, len(resting.instances), 0), *_switch(observed, target))
    elif ready:
        forward = _switch(observed, target)
    else:
        forward = (*twin(observed, target, silent), *settle(observed, target, back=True))
    note = _note(observed, target, resting, ready=ready)
    if silent:
        note += f"; without {named(silent)}, unreachable at the time"
    return Plan.make(
        target.service,
        ROLLBACK,
        current.number,
        target.number,
        forward,
        (share(0),) if ready else way_back(observed, target),
        (f"back to {target.name}: {note}",),
    )


def _note(observed: Observed, target: Release, resting: Environment | None, *, ready: bool) -> str:
    if ready:
        return "its environment is warm"
    if resting is not None:
        asleep = observed.colour in observed.asleep
        return f"its environment is {'asleep: it is woken' if asleep else 'paused: it goes on'} first"
    gone = "its environment is gone: " if target.served else ""
    return f"{gone}it is started again from the record"


def _resting(observed: Observed, target: Release) -> Environment | None:
    """Return the target's environment where it sleeps or some of it is paused: as it stood, it can go on at once."""
    there = observed.environment(observed.colour)
    if there is None or there.release != target.number:
        return None
    states = {instance.state for instance in there.instances}
    paused = "paused" in states and states <= {"paused", "running"}
    return there if paused or observed.colour in observed.asleep else None


def _is_ready(observed: Observed, target: Release) -> bool:
    """Return whether everything of the target's environment runs that is on hosts that answer.

    What works without being asked is never kept for that: what still runs of it was told to end.
    """
    if not target.served:
        return False
    warm = observed.environment(observed.colour)
    if warm is None or warm.release != target.number:
        return False
    hosts = target.host_names(observed.colour)
    seen = [host for host in hosts if host not in observed.silent] if hosts else [""]
    return bool(seen) and len(warm.healthy()) >= target.least().over(len(seen))


def moved_plan(target: Release, current: Release, colour: Colour) -> Plan:
    """Plan what is left of a rollback whose users were moved already: it begins behind its commit point."""
    left = other(colour)
    retire = keep_warm(target, left, current.number, back=True)
    if not target.may_run_beside(current):
        retire = (remove(current.manifest, left),)
    return Plan.make(
        target.service,
        ROLLBACK,
        current.number,
        target.number,
        (
            *attach(target, colour, partial=True),
            Promote(release=target.number, colour=colour, deadline=PROXY_SECONDS),
            *retire,
        ),
        (share(0),),
        (f"back to {target.name}: its environment is warm, and users were moved at once",),
    )


def _switch(observed: Observed, target: Release) -> tuple[Step, ...]:
    keep: tuple[Step, ...] = ()
    if observed.stable is not None and observed.live is not None:
        keep = keep_warm(target, observed.live.stable, observed.stable.number, back=True)
    return (
        *attach(target, observed.colour, partial=True),
        Promote(release=target.number, colour=observed.colour, deadline=PROXY_SECONDS),
        *keep,
    )
