"""What people and pipelines ask for: deploy, promote, abort, pause, resume, roll back, take down.

Each function either drives the rollout itself or, when a living process drives it, leaves a wish and follows that one's
events. They know no terminal and no concrete driver: the CLI (and later the server) calls them with a `House`.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from deployer.clock import Clock, Deadline
from deployer.drivers.ports import Drivers, Image
from deployer.engine import Ending, Run, abort, drive
from deployer.errors import DeployError, Exit, Locked, Refused
from deployer.events import Event, Sink
from deployer.manifest.freeze import frozen_until
from deployer.manifest.load import Loaded
from deployer.manifest.models import Manifest
from deployer.model import Observed, Release, SecretText
from deployer.observe import observe
from deployer.plan import Plan
from deployer.releases import config_hash, draft, git_revision, version_of
from deployer.rollback import choose, rollback_plan
from deployer.store import Lock, Rollout, Store, whoami
from deployer.store.vault import Vault
from deployer.strategy import Strategy
from deployer.strategy import load as load_strategy

PULL_SECONDS = 900.0
FOLLOW_SECONDS = 0.2  # between two looks at another process's events
FOLLOW_LIMIT = 24 * 3600.0


@dataclass
class House:
    """The state folder with everything needed to act on it."""

    store: Store
    vault: Vault
    clock: Clock
    wire: Callable[[Manifest, Path], Drivers]
    ports: Sequence[int]
    sink: Sink = lambda _event: None
    stop_asked: threading.Event = field(default_factory=threading.Event)

    def tell(self, service: str, text: str) -> None:
        """Send a note that belongs to no rollout yet."""
        self.sink(Event("note", self.clock.now(), service, 0, {"text": text}))


@dataclass(frozen=True)
class Request:
    """A deploy as asked for."""

    loaded: Loaded
    strategy: str
    options: Mapping[str, Any]
    version: str | None = None
    message: str = ""
    override_freeze: str = ""
    replace: bool = False
    secrets: Callable[[], dict[str, SecretText]] = dict


@dataclass(frozen=True)
class Proposal:
    """What a deploy would do: the plan, and whether it is the release that is live already."""

    plan: Plan
    release: Release
    observed: Observed
    same: bool


# -- deploy


def propose(house: House, request: Request) -> Proposal:
    """Make the plan of a deploy without changing anything but fetching the image."""
    loaded, strategy, options = _checked(house, request)
    drivers = house.wire(loaded.manifest, loaded.folder)
    return _propose(house, request, strategy, options, drivers, request.secrets())


def deploy(house: House, request: Request) -> Ending:
    """Bring a release out by a strategy. The same release again does nothing and says so."""
    loaded, strategy, options = _checked(house, request)
    manifest = loaded.manifest
    _not_frozen(house, request)
    secrets = request.secrets()
    with _locked(house, manifest.service, f"{strategy.name} of {version_of(manifest, request.version)}") as lock:
        _settle_open(house, request, lock)
        drivers = house.wire(manifest, loaded.folder)
        proposal = _propose(house, request, strategy, options, drivers, secrets)
        if proposal.same:
            text = f"{proposal.release.version} is live already ({_live_name(proposal.observed)}): nothing to do"
            house.tell(manifest.service, text)
            return Ending("done", Exit.DONE, text, 0)
        release = house.store.add_release(proposal.release)
        house.vault.save(release.service, release.number, secrets)
        return _begin(house, lock, drivers, proposal.plan, loaded.folder, request.message)


def _live_name(observed: Observed) -> str:
    return observed.stable.name if observed.stable else "none"


def _checked(house: House, request: Request) -> tuple[Loaded, Strategy, Any]:
    """Refuse what can be refused before anything is touched."""
    loaded = request.loaded
    strategy = load_strategy(request.strategy, loaded.folder)
    given = {**loaded.manifest.strategy_options(request.strategy), **request.options}
    options = strategy.parse(given)
    _same_house(house.store, loaded.manifest)
    try:
        loaded.manifest.image_for(request.version)
    except ValueError as error:
        raise Refused(f"{loaded.manifest.service}: {error}") from None
    return loaded, strategy, options


def _same_house(store: Store, manifest: Manifest) -> None:
    number = store.service(manifest.service).stable
    if not number:
        return
    stable = store.release(manifest.service, number).manifest
    for what, old, new in (
        ("runtime", stable.runtime, manifest.runtime),
        ("traffic.haproxy", stable.traffic.haproxy, manifest.traffic.haproxy),
        ("traffic.mode", stable.traffic.mode, manifest.traffic.mode),
    ):
        if old != new:
            raise Refused(
                f"{manifest.service}: {what} cannot change in a rollout",
                "take the service down first (`deploy down`), or deploy under another name and move the domain",
            )


def _not_frozen(house: House, request: Request) -> None:
    manifest = request.loaded.manifest
    until = frozen_until(manifest.freeze, datetime.fromtimestamp(house.clock.now()).astimezone())
    if until is None:
        return
    if request.override_freeze:
        house.tell(manifest.service, f"the freeze until {until:%a %H:%M} is overridden: {request.override_freeze}")
        return
    raise Refused(
        f"{manifest.service} is frozen until {until:%a %d %b %H:%M}", 'wait, or say why not: --override-freeze "reason"'
    )


def _propose(
    house: House,
    request: Request,
    strategy: Strategy,
    options: Any,
    drivers: Drivers,
    secrets: dict[str, SecretText],
) -> Proposal:
    manifest, service = request.loaded.manifest, request.loaded.manifest.service
    image = _resolve(house, request, drivers)
    observed = observe(house.store, drivers, service)
    key = house.store.secret("config-key")
    latest = house.store.releases(service)
    release = draft(
        manifest,
        image,
        version_of(manifest, request.version),
        secrets,
        key,
        number=(latest[0].number if latest else 0) + 1,
        by=whoami(),
        message=request.message,
        git=git_revision(request.loaded.folder),
    )
    same = observed.stable is not None and observed.stable.config_hash == release.config_hash
    same = same and observed.stable is not None and config_hash(image.id, manifest, secrets, key) == release.config_hash
    return Proposal(strategy.make(observed, release, options), release, observed, same)


def _resolve(house: House, request: Request, drivers: Drivers) -> Image:
    manifest = request.loaded.manifest
    reference = manifest.image_for(request.version)
    if manifest.runtime == "process":
        reference = str((request.loaded.folder / reference).resolve())

    def tell(kind: str, **data: Any) -> None:
        house.sink(Event(kind, house.clock.now(), manifest.service, 0, data))

    return drivers.runtime.resolve(manifest, reference, Deadline.after(house.clock, PULL_SECONDS), tell)


def _settle_open(house: House, request: Request, lock: Lock) -> None:
    """An unfinished rollout of a dead process is refused, or taken back first if the user says so."""
    service = request.loaded.manifest.service
    rollout = house.store.open_rollout(service)
    if rollout is None:
        return
    if not request.replace:
        raise Locked(
            f"rollout {rollout.number} of {service} (r{rollout.release}, {rollout.strategy}, by {rollout.started_by}) "
            f"is unfinished{': ' + rollout.text if rollout.text else ''}",
            "`deploy resume`, `deploy promote` or `deploy abort` it, or take it back first with --replace",
        )
    run = _run(house, lock, rollout)
    committed = _committed(house, rollout)
    ending = drive(run) if committed else abort(run, whoami(), "replaced by a newer deploy")
    if ending.outcome == "stuck":
        raise Refused(f"rollout {rollout.number} could not be taken back: {ending.text}", "see `deploy status`")


# -- driving


@contextmanager
def _locked(house: House, service: str, purpose: str) -> Iterator[Lock]:
    lock = house.store.locks.take(service, purpose)
    try:
        yield lock
    finally:
        house.store.locks.release(lock)


def _begin(house: House, lock: Lock, drivers: Drivers, plan: Plan, folder: Path, message: str) -> Ending:
    rollout = house.store.begin(lock, plan, folder, whoami(), message)
    run = _run(house, lock, rollout, drivers)
    run.tell(
        "rollout.started",
        release=plan.release,
        version=run.candidate.version,
        origin=plan.origin,
        strategy=plan.strategy,
        by=rollout.started_by,
        steps=[s.explain() for s in plan.forward],
        plan=plan.to_dict(),
    )
    return drive(run)


def _run(house: House, lock: Lock, rollout: Rollout, drivers: Drivers | None = None) -> Run:
    manifest = house.store.release(rollout.service, rollout.release).manifest

    def secrets(release: Release) -> dict[str, SecretText]:
        return house.vault.load(release.service, release.number, frozenset(release.manifest.secrets))

    return Run(
        store=house.store,
        drivers=drivers or house.wire(manifest, rollout.folder),
        clock=house.clock,
        sink=house.sink,
        rollout=rollout,
        lock=lock,
        secrets=secrets,
        ports=house.ports,
        port_usable=port_usable,
        stop_asked=house.stop_asked,
    )


def port_usable(port: int) -> bool:
    """Tell whether nobody listens on a port of this machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def _committed(house: House, rollout: Rollout) -> bool:
    entry = house.store.entry(rollout.number, "forward", rollout.plan.commit)
    return entry is not None and entry.state == "done"


def _open(house: House, service: str) -> Rollout:
    rollout = house.store.open_rollout(service)
    if rollout is None:
        raise Refused(f"{service} has no unfinished rollout", "`deploy history` shows the finished ones")
    return rollout


# -- wishes of people


def promote(house: House, service: str, reason: str = "") -> Ending:
    """Finish an unfinished rollout forward: watches and approvals are passed without waiting."""
    rollout = _open(house, service)
    if rollout.phase == "back":
        raise Refused(
            f"rollout {rollout.number} is on its way back: {rollout.text}", "`deploy resume` ends the way back"
        )
    return _wish(house, rollout, "promote", reason)


def stop(house: House, service: str, reason: str = "") -> Ending:
    """Abort: stop an unfinished rollout and go back."""
    rollout = _open(house, service)
    if _committed(house, rollout):
        raise Refused(f"r{rollout.release} is promoted already", "`deploy resume` ends it, `deploy rollback` leaves it")
    ending = _wish(house, rollout, "abort", reason)
    return _as_asked(ending)


def pause(house: House, service: str, reason: str = "") -> Ending:
    """Hold a running rollout at its share; `deploy resume` goes on."""
    rollout = _open(house, service)
    if house.store.locks.read(service) is None:
        raise Refused(f"rollout {rollout.number} of {service} is not running: {rollout.text or 'its process is gone'}")
    return _wish(house, rollout, "pause", reason)


def resume(house: House, service: str) -> Ending:
    """Go on with a rollout that was held, or whose process died."""
    rollout = _open(house, service)
    with _locked(house, service, f"resume of rollout {rollout.number}") as lock:
        run = _run(house, lock, house.store.rollout(rollout.number))
        run.tell("rollout.resumed", phase=run.rollout.phase, by=whoami())
        return drive(run)


def _as_asked(ending: Ending) -> Ending:
    """An abort that went back is what was asked for: exit 0."""
    if ending.outcome == "reverted":
        return Ending("reverted", Exit.DONE, ending.text, ending.rollout)
    return ending


def _wish(house: House, rollout: Rollout, kind: str, reason: str) -> Ending:
    """Do it here when nobody alive drives the rollout, else ask the one who does and follow."""
    try:
        with _locked(house, rollout.service, f"{kind} of rollout {rollout.number}") as lock:
            run = _run(house, lock, house.store.rollout(rollout.number))
            run.tell("rollout.resumed", phase=run.rollout.phase, by=whoami())
            if kind == "abort":
                return abort(run, whoami(), reason)
            run.hurry = kind == "promote"
            return drive(run)
    except Locked:
        seen = house.store.events(rollout.number)
        house.store.ask(rollout.number, kind, whoami(), reason)
        house.tell(rollout.service, f"{kind} asked of the process that drives rollout {rollout.number}")
        return follow(house, rollout.number, after=seen[-1].id if seen else 0)


def follow(house: House, number: int, *, after: int = 0, limit: float = FOLLOW_LIMIT) -> Ending:
    """Show the events of a rollout that another process drives, until it ends or is held."""
    deadline = Deadline.after(house.clock, limit)
    while not house.stop_asked.is_set():
        events = house.store.events(number, after)
        for event in events:
            house.sink(event)
            after = event.id
        rollout = house.store.rollout(number)
        if rollout.outcome and not events:
            return Ending(rollout.outcome, Exit(rollout.exit), rollout.text, number)
        if not rollout.outcome and not events and house.store.locks.read(rollout.service) is None:
            _abandoned(rollout)
        deadline.check(f"following rollout {number}")
        house.clock.sleep(FOLLOW_SECONDS)
    return Ending("held", Exit.DONE, "no longer following; the rollout goes on", number)


def _abandoned(rollout: Rollout) -> NoReturn:
    raise DeployError(
        f"the process that drove rollout {rollout.number} is gone",
        "`deploy resume` finishes it, `deploy abort` takes it back; its share runs out by itself",
    )


# -- rollback


def rollback(house: House, service: str, *, to: int | None = None, force: bool = False, reason: str = "") -> Ending:
    """Leave the live release for an earlier good one; an unfinished rollout is taken back instead."""
    rollout = house.store.open_rollout(service)
    if rollout is not None and not _committed(house, rollout):
        house.tell(service, f"rollout {rollout.number} is unfinished: taking it back")
        return stop(house, service, reason or "rollback")
    with _locked(house, service, "rollback") as lock:
        if rollout is not None:
            drive(_run(house, lock, rollout))  # only tidying up was left
        record = house.store.service(service)
        if not record.stable:
            raise Refused(f"{service} was never deployed", "there is nothing to go back to")
        current = house.store.release(service, record.stable)
        drivers = house.wire(current.manifest, Path())
        observed = observe(house.store, drivers, service)
        target = choose(house.store.releases(service), observed, record.stable, to, force=force)
        plan = rollback_plan(observed, target, record.stable)
        return _begin(house, lock, drivers, plan, Path.cwd(), reason)


# -- down


def down(house: House, service: str) -> tuple[str, ...]:
    """Take a service off the proxy and remove all its instances; releases and history stay. Give what was removed."""
    with _locked(house, service, "down") as lock:
        rollout = house.store.open_rollout(service)
        if rollout is not None:
            raise Refused(
                f"rollout {rollout.number} of {service} is unfinished", "`deploy abort` or `deploy resume` first"
            )
        releases = house.store.releases(service)
        if not releases:
            raise Refused(f"{service} was never deployed", "`deploy status` lists what was")
        drivers = house.wire(releases[0].manifest, Path())
        _withdraw(house, drivers, releases[0])
        removed = drivers.runtime.instances(service)
        for instance in removed:
            grace = house.store.release(service, instance.release).manifest.stop.grace
            drivers.runtime.remove(instance, grace, Deadline.after(house.clock, grace + 30))
            house.store.free_port(service, instance.release, instance.index)
        house.store.taken_down(lock)
    return tuple(i.name for i in removed)


def _withdraw(house: House, drivers: Drivers, release: Release) -> None:
    drain = release.manifest.stop.drain
    if drivers.traffic.read(release.service) is None:
        return
    for colour in ("blue", "green"):
        names = [s.name for s, _ in drivers.traffic.servers(release.service, colour)]
        if names:
            with suppress(DeployError):  # a broken proxy must not keep the instances alive
                drivers.traffic.drain(release.service, colour, names, Deadline.after(house.clock, drain))
    drivers.traffic.forget(release.service, Deadline.after(house.clock, 30))
