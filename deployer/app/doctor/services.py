"""What differs between what is recorded of a service, what stands of it, and what the proxy does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from deployer.app import certificates
from deployer.app.doctor import fixes
from deployer.app.doctor.finding import Discrepancy, Fix, Level
from deployer.app.doctor.snapshot import ServiceSnapshot, look, wanted
from deployer.app.evictions import COMES_BACK, eviction
from deployer.app.keeper.outlook import unattended
from deployer.app.operations import AppContext
from deployer.app.operations.reconcile import unwritten
from deployer.app.queries import drivers_of
from deployer.core.clock import Deadline
from deployer.core.errors import DeployError, DriverFailed, HostsUnreachable
from deployer.emergency import record as notes
from deployer.model import Colour, Environment, Instance, Place
from deployer.planning.certificates import WARN_DAYS
from deployer.planning.steps import percent
from deployer.store import Lock
from deployer.store.upkeep import last_rollout
from deployer.views.text import moment

PROBE_SECONDS = 5.0
NOTE_SECONDS = 60.0  # within which the note of an emergency may be that of one in progress
Check = Callable[[AppContext, ServiceSnapshot], Iterator[Discrepancy]]


def service(house: AppContext, name: str, own: Lock | None = None) -> list[Discrepancy]:
    """Compare all that is known of a service; what cannot be read is a finding, not an error.

    `own` is the lock that this process holds on it.
    """
    if not house.store.releases.of(name):
        return []
    try:
        sight = look(house, name, own)
        found = [d for check in CHECKS for d in check(house, sight)]
    except DeployError as error:
        return [Discrepancy("bad", name, error.message, error.hint, _serve(house, name, own))]
    if found:
        return [_in_time(sight, d) for d in found]
    if not sight.record.stable:
        return [Discrepancy("ok", name, "nothing is live, and nothing of it is running")]
    stable = sight.releases[sight.record.stable]
    agree = "state database, runtime and proxy" if stable.served else "state database and runtime"
    text = f"{stable.name} is live; {agree} agree"
    return [Discrepancy("ok", name, text)]


def _serve(house: AppContext, name: str, own: Lock | None) -> Fix | None:
    """Have the proxy serve again, where it is the one that cannot be asked and nobody is at work."""
    held = house.store.locks.read(name)
    if not house.store.services.get(name).stable or (held and not (own and held.token == own.token)):
        return None
    try:
        drivers_of(house, name).traffic.read(name)
    except DriverFailed:
        return fixes.serve(house, name)
    except DeployError:
        return None
    return None


def _in_time(sight: ServiceSnapshot, difference: Discrepancy) -> Discrepancy:
    """Leave to a rollout what is its own business: it may be about to do just that."""
    if sight.settled or difference.cure is None or (difference.cure.urgent and sight.lock is None):
        return difference
    if sight.lock:
        remedy = f"{sight.lock.owner} (pid {sight.lock.pid}) is at work; look again after it"
    else:
        remedy = difference.remedy or "a rollout is open; look again after it"
    return replace(difference, cure=None, remedy=remedy)


# -- the records


def _rollout(_house: AppContext, sight: ServiceSnapshot) -> Iterator[Discrepancy]:
    rollout = sight.rollout
    if rollout is None or sight.lock is not None:
        return
    ways = "`deploy resume` or `deploy abort`" if rollout.phase == "back" else None
    remedy = ways or "`deploy resume`, `deploy promote` or `deploy abort`"
    text = f"rollout {rollout.number} is in progress and its process is gone"
    yield Discrepancy("warn", sight.service, f"{text}{': ' + rollout.text if rollout.text else ''}", remedy)


def _recorded(house: AppContext, sight: ServiceSnapshot) -> Iterator[Discrepancy]:
    """The store against what stands and what users get: it may have been restored from an old backup."""
    cure = fixes.record(house, sight)
    for instance in sight.instances:
        if instance.release not in sight.releases:
            text = f"{instance.name} is running, but r{instance.release} is not recorded"
            yield Discrepancy("bad", sight.service, text, "was an old backup restored?", cure)
    last, seen = last_rollout(house.store), sight.live.rollout if sight.live else 0
    if seen > last:
        text = f"the proxy has a value of rollout {seen}, but the last one recorded is {last}"
        yield Discrepancy("bad", sight.service, text, "was an old backup restored?", cure)
    stable = sight.stable
    if stable is None or not stable.healthy() or stable.release == sight.record.stable or sight.rollout:
        return
    recorded = f"r{sight.record.stable} is recorded" if sight.record.stable else "none is recorded"
    served = stable.release not in sight.releases or sight.releases[stable.release].served
    text = f"{'users are on ' * served}r{stable.release} ({stable.colour}){' is live' * (not served)}, {recorded}"
    yield Discrepancy("bad", sight.service, text, "", _written(house, sight) or cure)


def _written(house: AppContext, sight: ServiceSnapshot) -> Fix | None:
    return fixes.write_down(house, sight) if unwritten(house, sight.drivers, sight.service) else None


def _note(house: AppContext, sight: ServiceSnapshot) -> Iterator[Discrepancy]:
    """What an emergency wrote down until it runs in the store."""
    note = notes.read(str(house.store.folder), sight.service)
    if note is None or abs(time.time() - note.at) < NOTE_SECONDS:
        return  # it is written before users are moved
    if sight.settled and not unwritten(house, sight.drivers, sight.service):
        text = f"the note of {note.by}'s `deploy {note.command}` of {moment(note.at)} is left; nothing is to be done"
        yield Discrepancy("warn", sight.service, text, "", fixes.forget_note(house, sight))


# -- what stands


def _missing(house: AppContext, sight: ServiceSnapshot) -> Iterator[Discrepancy]:
    """Instances of the stable and the warm environment that are gone or do not run."""
    for place, environment in sight.environments.items():
        role, release = sight.role(place), sight.releases.get(environment.release)
        if role not in ("stable", "warm") or release is None:
            continue
        cure = fixes.refill(house, sight, place)
        level = "bad" if role == "stable" else "warn"
        for index in wanted(release, place, warm=role == "warm"):
            name = f"{release.service}-r{release.number}-{index}"
            if name not in sight.names:
                text = f"{name} is gone, of {release.name}, which is {role}"
                yield Discrepancy("bad" if level == "bad" else "warn", sight.service, text, "", cure)
        if place not in sight.asleep:
            yield from _ill(sight, environment, cure)
    if sight.record.stable and sight.stable is None and sight.live is not None:
        if found := eviction(house.store, sight.service):
            yield Discrepancy("warn", sight.service, f"{sight.service} is {found.text}", COMES_BACK)
            return
        text = f"r{sight.record.stable} should be live, but nothing of it is running"
        yield Discrepancy("bad", sight.service, text, "`deploy up` deploys it, `deploy rollback` the one before")


def _ill(sight: ServiceSnapshot, environment: Environment, cure: Fix) -> Iterator[Discrepancy]:
    runs = any(i.state == "running" for i in environment.instances)
    remedy = f"`deploy logs`, then {'`deploy rollback` or a fixed release' if runs else '`deploy up`'}"
    for instance in environment.instances:
        text = f"{instance.name} is {instance.state}, {instance.restarts} restarts"
        if instance.state == "paused" and sight.pauses(environment.colour):
            continue
        if instance.state != "running" or instance.restarts:
            yield Discrepancy("bad", sight.service, text, remedy, cure if instance.state != "running" else None)
        if instance.drift:
            drift = f"{instance.name} is not what its release says: {instance.drift}"
            yield Discrepancy("bad", sight.service, drift, "the next release replaces it")


def _left_over(house: AppContext, sight: ServiceSnapshot) -> Iterator[Discrepancy]:
    """What stands and belongs to nothing that is recorded."""
    if sight.rollout is not None:
        return
    for place, environment in sight.environments.items():
        if sight.role(place) == "left over" and not (sight.live is None and environment.release == sight.record.stable):
            what = f"r{environment.release} ({place})"
            cure = _removal(house, sight, place, environment.instances, what)
            yield Discrepancy("warn", sight.service, f"{what} is left over", _when(sight, place), cure)
        beside = [i for i in sight.instances if i.colour == place and i.release != environment.release]
        for instance in beside:
            text = f"{instance.name} runs in {place} beside r{environment.release}: it is garbage"
            cure = _removal(house, sight, place, [instance], instance.name)
            yield Discrepancy("warn", sight.service, text, "the next deploy removes it", cure)


def _when(sight: ServiceSnapshot, place: Place) -> str:
    """Return in words when what is left over in a place is removed."""
    if lost := sight.kept_for(place):
        return f"{lost}, which is lost, may send users there: it is removed once that proxy is up to date"
    return "the next deploy removes it"


def _company(house: AppContext, sight: ServiceSnapshot) -> Iterator[Discrepancy]:
    """Two releases that run at once, of which one must not."""
    standing = [(p, e, sight.releases[e.release]) for p, e in sight.environments.items() if e.release in sight.releases]
    for place, environment, release in standing:
        others = [r for _, e, r in standing if e is not environment and not r.may_run_beside(release)]
        if not others or sight.share(place) or sight.role(place) == "stable":
            continue
        text = f"{release.name} ({place}) runs beside {others[0].name}: one of them must not run beside another release"
        what = f"r{release.number} ({place})"
        cure = _removal(house, sight, place, environment.instances, what)
        yield Discrepancy("bad", sight.service, text, "`deploy abort`" if sight.rollout else "", cure)


def _removal(
    house: AppContext, sight: ServiceSnapshot, place: Place, doomed: Iterable[Instance], what: str
) -> Fix | None:
    """Remove instances, if nobody is on them: they get no users, or others of their place are up to take them."""
    instances = tuple(doomed)
    others = sight.up(place) - {i.name for i in instances}
    if (sight.share(place) and not others) or sight.kept_for(place):
        return None
    return fixes.remove(house, sight, place, instances, what)


def _warm(house: AppContext, sight: ServiceSnapshot) -> Iterator[Discrepancy]:
    record = sight.record
    if not record.warm or sight.rollout is not None:
        return
    here = [e for p, e in sight.environments.items() if p == record.warm_colour and e.release == record.warm]
    if not here:
        cure = fixes.forget_warm(house, sight, record.warm)
        text = f"r{record.warm} should be warm, but nothing of it is running: a rollback starts it again"
        yield Discrepancy("warn", sight.service, text, "", cure)
        return
    if record.warm_until < sight.now and not sight.share(here[0].colour):
        what = f"r{record.warm} ({record.warm_colour})"
        removal = _removal(house, sight, here[0].colour, here[0].instances, what)
        text = f"{what} was to be kept warm until {moment(record.warm_until)}: it is still running"
        yield Discrepancy("warn", sight.service, text, _when(sight, here[0].colour), removal)


# -- the proxy


def _forgotten(house: AppContext, sight: ServiceSnapshot) -> Iterator[Discrepancy]:
    """A service that the proxy does not know."""
    if sight.live is not None or not sight.record.stable or sight.rollout is not None:
        return
    for place, environment in sight.environments.items():
        if environment.release == sight.record.stable and environment.healthy() and place != "baseline":
            colour: Colour = "blue" if place == "blue" else "green"
            cure = fixes.configure(house, sight, environment.release, colour)
            text = f"the proxy does not know {sight.service}: no traffic goes to r{environment.release}"
            if not sight.releases[environment.release].served:
                text = f"nothing says that r{environment.release} ({place}) is the live release of {sight.service}"
            yield Discrepancy("bad", sight.service, text, "", cure)
            return
    text = f"r{sight.record.stable} should be live, but nothing of it is running"
    if sight.record.stable not in sight.releases or sight.releases[sight.record.stable].served:
        text = f"{text}, and the proxy does not know it"
    yield Discrepancy("bad", sight.service, text, "`deploy up` deploys it")


def _agreement(house: AppContext, sight: ServiceSnapshot) -> Iterator[Discrepancy]:
    for fault in sight.drivers.inspection.drift(sight.service):
        cure = fixes.repair(house, sight) if fault.repairable else None
        yield Discrepancy("bad", sight.service, fault.text, fault.remedy, cure)


def _servers(house: AppContext, sight: ServiceSnapshot) -> Iterator[Discrepancy]:
    """Instances that the proxy does not know, or finds down; servers of which no instance stands."""
    for place, environment in sight.environments.items():
        role = sight.role(place)
        for instance in environment.healthy():
            if role == "left over" or place in sight.asleep or sight.pauses(place):
                continue
            if instance.name not in sight.servers[place]:
                cure = fixes.attach(house, sight, place) if role in ("stable", "warm") else None
                yield Discrepancy("bad", sight.service, f"the proxy does not know {instance.name}", "", cure)
            elif instance.name not in sight.up(place):
                text, cure = f"the proxy finds {instance.name} down", None
                # It was taken out, and nobody put it back
                if role in ("stable", "warm") and _answers(house, sight, instance):
                    text, cure = f"the proxy sends no traffic to {instance.name}", fixes.attach(house, sight, place)
                yield Discrepancy("bad", sight.service, text, "`deploy logs`", cure)
    for place, servers in sight.servers.items():
        strange = tuple(name for name in servers if name not in sight.names)
        for name in strange:
            text = f"the proxy has {name} ({servers[name][0].address}), which does not exist"
            kept = sight.up(place) - set(strange)
            cure = fixes.detach(house, sight, place, strange) if kept or not sight.share(place) else None
            yield Discrepancy("warn", sight.service, text, "the next deploy removes it", cure)


def _answers(house: AppContext, sight: ServiceSnapshot, instance: Instance) -> bool:
    """Return whether an instance passes its own health check now."""
    manifest = sight.releases[instance.release].manifest
    return not sight.drivers.checks.probe(manifest, instance, Deadline.after(house.clock, PROBE_SECONDS))


def _shares(house: AppContext, sight: ServiceSnapshot) -> Iterator[Discrepancy]:
    """Users who are sent where nothing serves them, and shares that nobody answers for."""
    live, stable = sight.live, sight.stable
    if live is None or (stable and stable.release in sight.releases and not sight.releases[stable.release].served):
        return
    everyone = fixes.to_stable(house, sight, live) if sight.up(live.stable) and sight.lock is None else None
    for place in (live.candidate, "baseline"):
        share = sight.share(place)
        if share and not sight.up(place):
            text = f"{percent(share)} of the users are sent to {place}, where nothing is up"
            yield Discrepancy("bad", sight.service, text, "`deploy abort`" if sight.rollout else "", everyone)
        elif share and sight.settled:
            text = f"{percent(share)} of the users are sent to {place}, but no rollout is in progress"
            yield Discrepancy("bad", sight.service, text, "", everyone)
    if (live.share or live.baseline) and not sight.share(live.candidate) and not sight.share("baseline"):
        if sight.settled:
            text = f"the share of {percent(live.share)} is over since {moment(live.lease)}; no rollout is in progress"
            yield Discrepancy("warn", sight.service, text, "", everyone)
        elif sight.lock is None:
            text = f"the lease of the share is over since {moment(live.lease)}: everyone is on stable"
            yield Discrepancy("warn", sight.service, text, "`deploy resume` or `deploy abort`")
    if live.stable in sight.asleep:
        return  # the next request starts it
    if sight.share(live.stable) and sight.servers[live.stable] and not sight.up(live.stable):
        other = " `deploy rollback` gives them the other environment" if sight.up(live.candidate) else ""
        text = f"users are sent to {live.stable}, where the proxy finds nothing up"
        yield Discrepancy("bad", sight.service, text, f"`deploy logs`;{other}".rstrip(";"))


# -- what is held


def _ports(house: AppContext, sight: ServiceSnapshot) -> Iterator[Discrepancy]:
    there = {(i.release, i.index) for i in sight.instances}
    environments = sight.environments.items()
    whole = {
        (e.release, index)
        for place, e in environments
        if e.release in sight.releases
        for index in wanted(sight.releases[e.release], place)
    }
    held = (p for p in sight.ports if p.host not in sight.silent)
    free = tuple((p.release, p.index) for p in held if (p.release, p.index) not in there | whole)
    if free and sight.settled:
        numbers = ", ".join(str(p.number) for p in sight.ports if (p.release, p.index) in free)
        text = f"ports are held for instances that are gone: {numbers}"
        yield Discrepancy("warn", sight.service, text, "", fixes.free_ports(house, free))


def _silent(_house: AppContext, sight: ServiceSnapshot) -> Iterator[Discrepancy]:
    """Hosts that give no answer: what stands there is neither seen nor put right."""
    for host, why in sight.silent.items():
        text, remedy = f"{host or 'this host'} is unreachable: {why}", HostsUnreachable({host: why}).hint
        yield Discrepancy("bad", sight.service, text, remedy)


def _strangers(_house: AppContext, sight: ServiceSnapshot) -> Iterator[Discrepancy]:
    try:
        names = sight.drivers.runtime.foreign(sight.service)
    except HostsUnreachable as error:
        names = error.seen
    for name in names:
        text = f"{name} has the name or the labels of an instance and is none: this deployer did not make it"
        remedy = "rename or remove it: it gets no users and is never touched (`docker commit` copies labels)"
        yield Discrepancy("warn", sight.service, text, remedy)


def _certificates(house: AppContext, sight: ServiceSnapshot) -> Iterator[Discrepancy]:
    """Certificates at the proxies that end soon, are a placeholder still, or not the newest."""
    stable = sight.releases.get(sight.record.stable)
    if stable is None or stable.manifest.traffic.tls is None:
        return
    for row in certificates.rows(house, stable):
        auto, renew = row.source != "yours", f"`deploy certs renew {row.domain}`"
        if row.warning:
            level: Level = "bad" if row.warning <= WARN_DAYS[-1] else "warn"
            yours = "renew it, then `deploy up`"
            yield Discrepancy(level, sight.service, certificates.warned(row), renew if auto else yours)
        elif row.source == "placeholder":
            why = f": {row.problem}" if row.problem else ""
            yield Discrepancy("warn", sight.service, f"{row.domain} has no certificate yet{why}", renew)
        elif row.problem:
            text = f"the certificate of {row.domain or sight.service}: {row.problem}"
            yield Discrepancy("warn", sight.service, text, renew if auto else "`deploy up` loads the file")


def _unattended(house: AppContext, sight: ServiceSnapshot) -> Iterator[Discrepancy]:
    """Keys of the manifest that ask for something between deploys, and nobody does it."""
    if text := unattended(house, sight.service):
        yield Discrepancy("warn", sight.service, text)


# In the order in which the cures are tried: first what is so is recorded, then users are served, then tidied up.
CHECKS: tuple[Check, ...] = (
    _silent,
    _certificates,
    _rollout,
    _recorded,
    _note,
    _forgotten,
    _agreement,
    _company,
    _missing,
    _servers,
    _shares,
    _left_over,
    _warm,
    _ports,
    _strangers,
    _unattended,
)
