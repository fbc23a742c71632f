"""Carrying out one step: look at the world, make it so, read it back."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from deployer.core import later
from deployer.core.clock import Deadline, stamp
from deployer.core.errors import DeadlinePassed, Exit, HostsUnreachable, StepFailed
from deployer.core.retrying import retry
from deployer.engine.coexistence import refuse_company
from deployer.engine.controls import Hold
from deployer.engine.handover import hand_over
from deployer.engine.removal import AT_ONCE, drain, remove_all
from deployer.engine.run import Drive
from deployer.model import CLOCKS, Instance, InstanceSpec, Live, Place, Server, newest_good, spread
from deployer.planning.guest_steps import Evict, Freeze
from deployer.planning.meeting import Meet
from deployer.planning.migration_steps import Discard, Migrate
from deployer.planning.plan import ROLLBACK
from deployer.planning.steps import (
    Approve,
    Attach,
    Handover,
    Healthy,
    Observe,
    Pause,
    Play,
    Promote,
    Prune,
    Remove,
    Share,
    Sleep,
    Smoke,
    Start,
    Step,
    Warm,
    Watch,
    span,
)
from deployer.store import JournalEntry
from deployer.transport.fanout import on_all

if TYPE_CHECKING:
    from deployer.engine import gates, hooks, migration, resting
else:  # for steps that a rollback to what still runs does not have
    gates, hooks, migration, resting = (
        later.module(f"deployer.engine.{name}") for name in ("gates", "hooks", "migration", "resting")
    )

MOVED_SECONDS = 5.0  # for the proxy to find instances up where they are, before it is looked where they are now
SERVED_SECONDS = 10.0  # for an instance to be up again beside which others are removed


@dataclass(frozen=True)
class Doing:
    """A step that is being carried out: its place, its journal line, its deadline."""

    n: int
    entry: JournalEntry
    deadline: Deadline


def perform(run: Drive, step: Step, doing: Doing) -> dict[str, Any]:
    """Make it so; return what is worth keeping in the journal.

    Raises StepFailed when it cannot be, Hold when a person must decide.
    """
    match step:
        case Start():
            if _beside_stable(run):
                run.evidence.catch_up()
            return _start(run, step, doing)
        case Play():
            if _beside_stable(run):
                run.evidence.change(f"step {doing.n + 1} ({step.what})")
            with run.follower.meanwhile():
                if isinstance(step, Migrate):
                    return migration.migrate(run, step, doing.n, doing.deadline)
                return _play(run, step, doing)
        case Discard():
            return migration.discard(run, step, doing.deadline)
        case Healthy():
            return gates.healthy(run, step, doing.n, doing.deadline)
        case Attach():
            return _attach(run, step, doing)
        case Smoke():
            return gates.smoke(run, step, doing.deadline)
        case Share():
            if step.share and not run.controls.hurry and _is_watched(run, doing.n):
                run.evidence.catch_up()
            run.traffic.give(step, doing.deadline)
            return {"share": step.share}
        case Watch() if run.controls.hurry:
            from deployer.engine.observation import skipped

            return skipped()
        case Watch():
            from deployer.engine.observation import watch

            return watch(run, step, doing.entry.until, doing.deadline)
        case Observe():
            from deployer.engine.instance_watch import observe

            return observe(run, step, doing.n, doing.entry.until, doing.deadline)
        case Meet():
            from deployer.engine.meeting import meet

            return meet(run, step, doing.n, doing.deadline)
        case Approve() if step.count:
            from deployer.engine.approval_gate import approved

            return approved(run, step, doing.n, doing.entry.until)
        case Approve():
            return _hold(run, step)
        case Promote():
            return _promote(run, step, doing)
        case Remove():
            return _remove(run, step, doing)
        case Sleep():
            return resting.sleep(run, step, doing.deadline)
        case Freeze():
            return resting.freeze(run, step, doing.deadline)
        case Handover():
            return hand_over(run, step, doing.entry.until, doing.deadline)
        case Warm():
            run.store.services.set_warm(run.lock, step.release, step.colour, run.clock.now() + step.seconds)
            return {"until": run.clock.now() + step.seconds}
        case Pause():
            return resting.pause(run, step, doing.deadline)
        case Prune():
            return _prune(run, step)
    raise StepFailed(f"this version does not know how to do step {step.kind!r}", "use the version that made the plan")


def _is_watched(run: Drive, n: int) -> bool:
    """Return whether a share is watched as soon as the others of a set have theirs."""
    following = (step for step in run.rollout.plan.forward[n + 1 :] if not isinstance(step, Meet))
    return isinstance(next(following, None), Watch)


def _beside_stable(run: Drive) -> bool:
    """Return whether playbooks run while users are on stable, which is then held against what it did before."""
    forward = run.rollout.plan.forward
    plays = any(isinstance(step, Play) for step in forward) and any(isinstance(step, Watch) for step in forward)
    return plays and bool(run.rollout.origin) and run.rollout.phase == "forward" and not run.controls.hurry


def _start(run: Drive, step: Start, doing: Doing) -> dict[str, Any]:
    release = run.release(step.release)
    refuse_company(release, step.colour, run.lookout.standing(), run.store.ports.of(run.service), run.release)
    places = spread(step.colour, step.instances, step.hosts)
    specs = [run.spec(release, step.colour, index, host) for index, host in places.items()]
    spared = (HostsUnreachable,) if run.rollout.phase == "back" or run.rollout.plan.spare(step.release) else ()

    def ensure(spec: InstanceSpec) -> None:
        with suppress(*spared):  # whoever looks afterwards says how many may be silent
            run.lookout.insist(lambda: run.drivers.runtime.ensure(spec, doing.deadline))

    with run.follower.meanwhile():
        on_all({spec.name: spec for spec in specs}, ensure, AT_ONCE).all()
    there = {i.name: i for i in run.whole(step.colour, step.release)}
    missing = [s.name for s in specs if s.name not in there and s.host not in run.lookout.silent]
    if missing:
        raise StepFailed(f"{', '.join(missing)}: started, but the runtime does not show it", "see `deploy doctor`")
    started = [there[s.name] for s in specs if s.name in there]
    if _attached_next(run, step, doing.n):  # its own checks go on while the health check is waited for
        run.drivers.traffic.configure(release, step.colour, doing.deadline)
        run.drivers.traffic.introduce(run.service, step.colour, _servers(started), doing.deadline)
    made: dict[str, Any] = {"instances": {i.name: i.address for i in started}}
    return {**made, "hosts": {i.name: i.host for i in started}} if step.hosts else made


def _attached_next(run: Drive, step: Start, n: int) -> bool:
    """Return whether what is started goes into the proxy once it is healthy, and nothing is done to it in between."""
    healthy, attach = (*run.rollout.plan.forward[n + 1 : n + 3], None, None)[:2]
    follows = isinstance(healthy, Healthy) and isinstance(attach, Attach) and attach.colour == step.colour
    return follows and run.rollout.phase == "forward"


def _servers(instances: Sequence[Instance]) -> list[Server]:
    return [Server(i.name, i.address) for i in instances]


def _play(run: Drive, step: Play, doing: Doing) -> dict[str, Any]:
    release = run.release(step.release)
    environment = run.environment(step.colour, step.release) if step.when != "before" else None
    if step.when == "update":
        run.whole(step.colour, step.release)
    live = run.traffic.read() if step.when == "before" else None
    if live and live.warm and not live.share:  # whoever goes back now takes this rollout back, and goes no further
        run.traffic.write(replace(live, warm=0), doing.deadline)
    extra = {"deployer_when": step.when, "deployer_rollout": str(run.rollout.number)}
    if step.run:
        return hooks.command(run, release, environment, hooks.Command(step.run, step.inside), extra, doing.deadline)
    run.drivers.playbooks.play(release, environment, step.playbooks, extra, doing.deadline, run.tell)
    return {"playbooks": list(step.playbooks)}


def _attach(run: Drive, step: Attach, doing: Doing) -> dict[str, Any]:
    servers, missing = _attached(run, step, doing), list[str]()

    def up() -> bool:
        run.follower.look()
        seen = {server for server, is_up in run.drivers.traffic.servers(run.service, step.colour) if is_up}
        missing[:] = [s.name for s in servers if s not in seen]
        return not missing

    if not doing.deadline.wait(up):
        raise StepFailed(f"{', '.join(missing)}: attached, but the proxy does not find it up", "see `deploy doctor`")
    return {"servers": [s.name for s in servers]}


def _attached(run: Drive, step: Attach, doing: Doing) -> list[Server]:
    """Attach what stands of a release, and return it; what is moved meanwhile is attached where it is then."""
    look, moves = run.instances if step.partial else run.whole, run.drivers.runtime.moves

    def attach() -> list[Server]:
        run.follower.look()
        servers = _servers(look(step.colour, step.release))
        if not servers:
            raise StepFailed(f"r{step.release} ({step.colour}) has no instance to attach", "see `deploy logs`")
        run.drivers.traffic.configure(run.release(step.release), step.colour, doing.deadline)
        patience = Deadline.after(run.clock, min(MOVED_SECONDS, doing.deadline.left())) if moves else doing.deadline
        run.drivers.traffic.attach(run.service, step.colour, servers, patience)
        return servers

    return retry(attach, doing.deadline, DeadlinePassed) if moves else attach()


def _hold(run: Drive, step: Approve) -> dict[str, Any]:
    run.look()
    if run.controls.hurry:
        return {"approved": True}
    ways = "`deploy resume` goes on watched, `deploy promote` promotes it now, `deploy abort` rolls it back"
    raise Hold(Exit.DONE, f"paused at {step.where}: {ways}")


def _promote(run: Drive, step: Promote, doing: Doing) -> dict[str, Any]:
    live = Live(stable=step.colour, rollout=run.rollout.number, warm=_warm_after(run, step.release))
    run.traffic.write(live, doing.deadline)
    # Routes, certificates and time-outs of the entry follow the users, after them: the way back needs no reload.
    run.drivers.traffic.configure(run.release(step.release), None, doing.deadline)
    return {"stable": step.colour}


def _warm_after(run: Drive, promoted: int) -> int:
    """Return the release that a rollback may go to by one write once a release is promoted; 0 when there is none.

    It is the one that the plan keeps warm and running, if a rollback would choose it. After a rollback there is none:
    the next one within minutes is late, and moves nobody, which an emergency cannot know.
    """
    if run.rollout.plan.strategy == ROLLBACK:
        return 0
    forward = run.rollout.plan.forward
    kept = {step.release for step in forward if isinstance(step, Warm)}
    kept -= {step.release for step in forward if isinstance(step, Pause)}
    choice = newest_good(run.store.releases.of(run.service), promoted)
    return choice.number if choice and choice.number in kept else 0


def _gets_users(live: Live | None, place: Place, now: float) -> bool:
    if live is None or place == live.stable:
        return live is not None
    leased_out = bool(live.lease) and live.lease <= now
    return bool(live.baseline if place == "baseline" else live.share) and not leased_out


def _remove(run: Drive, step: Remove, doing: Doing) -> dict[str, Any]:
    if left := _kept_for_lost(run, step, doing.n):
        return {"removed": [], "left": left}
    live = run.traffic.read()
    there = [i for i in run.lookout.settled().instances if i.colour == step.colour]
    doomed = [i for i in there if step.release in (0, i.release) and i.index > step.keep]
    stays = [i for i in there if i not in doomed]
    if doomed and not _may_empty(run, step) and _gets_users(live, step.colour, run.clock.now()):
        _refuse_unserved(run, step, stays, doing)
    if live and live.warm and step.colour == live.candidate:
        run.traffic.write(replace(live, warm=0), doing.deadline)  # nobody goes back to what is being taken away
    if not stays and run.store.services.get(run.service).warm_colour == step.colour:
        run.store.services.clear_warm(
            run.lock
        )  # before the first of them goes: half of an environment is none to go back to
    leaving = _leaving(run, step, stays) if live else []
    with run.follower.meanwhile([*leaving, *(i.name for i in doomed)]):
        cut = drain(run, step, leaving, doing.deadline)
        # Signalled while the proxy still holds its connections: an application can then say goodbye on what is open,
        # such as a WebSocket. The proxy forgets the address before anybody else may get it.
        remove_all(run, doomed, doing.n, doing.deadline, step.grace if isinstance(step, Evict) else None)
    if leaving:
        run.drivers.traffic.detach(run.service, step.colour, leaving, doing.deadline)
    _refuse_left(run, step, stays, doomed)
    _tidy(run, doing)
    if unseen := _unseen(run, step):
        text = f"not removed, as the host is unreachable: {', '.join(unseen)}; `deploy doctor --fix` does it later"
        run.tell("note", text=text)
    return {"removed": [i.name for i in doomed], "open": cut}


def _kept_for_lost(run: Drive, step: Remove, n: int) -> str:
    """Wait until no lost proxy sends users to a place that is to be emptied; return why it must be left as it is.

    Raise StepFailed where the rollout needs the place, and cannot wait for that.
    """
    until = 0.0 if step.keep or step.outage else run.proxies.until(step.colour)
    wait = until - run.clock.now()
    if wait <= 0 or not run.instances(step.colour, step.release):
        return ""
    if wait <= run.candidate.manifest.traffic.lease + CLOCKS:
        lost = run.proxies.sending_to(step.colour)
        run.tell("note", text=f"waiting {span(max(1, round(wait)))} for the lease to end at {lost}, which is lost")
        run.clock.sleep(wait)
        return ""
    text = f"{run.proxies.sending_to(step.colour)}, which is lost, may send users to {step.colour} until {stamp(until)}"
    plan = run.rollout.plan
    if run.rollout.phase == "forward" and n < plan.commit and not plan.adjusts:
        raise StepFailed(
            f"{step.colour} is needed, and {text}",
            "`deploy doctor --fix` brings the proxy up to date once it responds; or take it out of the inventory",
        )
    run.tell("note", text=f"not removed, as {text}: {step.colour}; `deploy doctor --fix` does it later")
    return text


def _unseen(run: Drive, step: Remove) -> list[str]:
    """Name what is to be removed and stands, if it still does, on a host that gives no answer."""
    hidden = [p for p in run.store.ports.of(run.service) if p.host in run.lookout.silent and p.release == step.release]
    return [f"{run.service}-r{p.release}-{p.index} on {p.host}" for p in hidden if p.index > step.keep]


def _refuse_unserved(run: Drive, step: Remove, stays: Sequence[Instance], doing: Doing) -> None:
    """Wait until the proxy finds one of those up that stay: it may have ended just now, and be started again.

    Raises StepFailed when there is none.
    """
    names = {i.name for i in stays}
    patience = Deadline.after(run.clock, min(SERVED_SECONDS, doing.deadline.left()))

    def served() -> bool:
        return any(up and s.name in names for s, up in run.drivers.traffic.servers(run.service, step.colour))

    if not (names and patience.wait(served, every=0.1)):
        raise StepFailed(
            f"{step.colour} has users: what serves them is not removed",
            "see `deploy status`; move them with `deploy rollback`",
        )


def _may_empty(run: Drive, step: Remove) -> bool:
    """Return whether a place with users may be emptied: a strategy means it, or nothing served them before either."""
    return step.outage or (run.rollout.phase == "back" and not run.rollout.origin)


def _leaving(run: Drive, step: Remove, stays: Sequence[Instance]) -> list[str]:
    """Name the proxy's servers that have no instance to stay: those of the doomed, and what a killed removal left."""
    known = {server.name for server, _ in run.drivers.traffic.servers(run.service, step.colour)}
    hidden = {
        f"{run.service}-r{port.release}-{port.index}"
        for port in run.store.ports.of(run.service)
        if step.keep and port.host in run.lookout.silent and port.release == step.release and port.index <= step.keep
    }
    return sorted(known - {i.name for i in stays} - hidden)


def _refuse_left(run: Drive, step: Remove, stays: Sequence[Instance], doomed: Sequence[Instance]) -> None:
    """Read back that nothing is left of what was removed. Raises StepFailed, naming it."""
    there = {i.name for i in run.instances(step.colour)}
    if left := [i.name for i in doomed if i.name in there and i.host not in run.lookout.silent]:
        raise StepFailed(f"{', '.join(left)}: removed, but the runtime still shows it", "see `deploy doctor`")
    if ghosts := _leaving(run, step, stays):
        raise StepFailed(f"{', '.join(ghosts)}: removed, but the proxy still has it", "see `deploy doctor`")


def _tidy(run: Drive, doing: Doing) -> None:
    left = run.lookout.standing().instances
    run.store.ports.free_others(run.lock, {(i.release, i.index) for i in left}, run.lookout.silent)
    if not left and not run.store.services.get(run.service).stable and run.traffic.read():
        run.drivers.traffic.forget(run.service, doing.deadline)
        if run.traffic.read():
            raise StepFailed(f"{run.service} is still in the proxy after its removal there", "see `deploy doctor`")


def _prune(run: Drive, step: Prune) -> dict[str, Any]:
    releases = run.store.releases.of(run.service)
    good = [r for r in releases if r.status == "good"][: step.keep]
    here = {i.release for i in run.lookout.standing().instances} | {p.release for p in run.store.ports.of(run.service)}
    keep = [r for r in releases if r in good or r.number in here or r.number == run.rollout.release]
    drop = [r for r in releases if r not in keep]
    try:
        return {"pruned": list(run.drivers.runtime.prune(keep, drop))}
    except HostsUnreachable as error:  # the next rollout does it there
        run.lookout.hear(error.silent)
        return {"pruned": list(error.seen)}
