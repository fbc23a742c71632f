"""The host: state folder, disk, clock, programs, and a team's HAProxy."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

from deployer.app.doctor.finding import Discrepancy, Fix
from deployer.app.operations import AppContext
from deployer.app.operations.guests import terms_of
from deployer.core import extras
from deployer.core.clock import Clock
from deployer.core.errors import DeployError, HostsUnreachable, StoreFailed, Unreachable
from deployer.core.host import ServiceHosts
from deployer.drivers.ports import Runtime
from deployer.manifest.models import HAProxy, Manifest
from deployer.store import Lock, Store
from deployer.store.upkeep import latest
from deployer.supervisor import unit
from deployer.transport.certificates import Certificates
from deployer.views.text import plural

FREE_BYTES = 200 * 1024**2  # less free space than this endangers the store and every image pull
FREE_FILES = 10_000  # the same for names of files, where the file system has a limit
CLOCK_SECONDS = 60.0  # what was recorded may be so much later than now
SLOW_SECONDS = 0.25  # for an answer of the database: a rollout asks it some hundred times
ANSWER_WITHIN = 5.0  # seconds for a team's proxy to say how it runs
STATE = "state folder"
ENDS_WITH_IT = "without live-restore all instances end when the engine does, also for an update of its package"
LET_LIVE = 'add "live-restore": true to /etc/docker/daemon.json, then systemctl reload docker: it ends no container'
# What only its owner may read: folders, and files with secrets or records. Patterns below the state folder.
_PRIVATE = (
    "deployer.db*",
    "store.json",
    "store.key",
    "secrets",
    "secrets/*",
    "secrets/*/*.json",
    "secrets/.config-key",
    "certificates",
    "certificates/*",
    "certificates/accounts/*.json",
    "processes/*",
    "processes/*/spec.json",
    "ansible",
    "ansible/instances",
    "ansible/instances/*.json",
    "proxy",
    "proxy/process",
    "proxy/certificates",
    "proxy/certificates/*",
)


def this_host(house: AppContext, manifest: Manifest | None, folder: Path = Path()) -> Iterator[Discrepancy]:
    """Look at everything that belongs to no service; `folder` is that of the manifest."""
    yield from _disk(house.store.folder, house.store.database.unwritable)
    yield from _modes(house.store.folder)
    yield from _shared(house.store)
    yield from _whole(house)
    yield _audit_log(house)
    yield from _clock(house)
    yield from _reboot(house.store.folder)
    yield from _programs(manifest)
    if manifest is not None and manifest.hosts != "local":
        yield from _hosts(house, manifest, folder)
    if manifest is not None and manifest.tenant:
        yield _tried(f"guests of {manifest.tenant}", lambda: _guests(house, manifest, folder))
    if manifest is not None and not manifest.traffic.proxies.local:
        yield _tried(f"proxies of {manifest.traffic.proxies.hosts}", lambda: _proxies(house, manifest, folder))
    elif manifest is not None and manifest.traffic.haproxy is not None:
        yield from _team_proxy(manifest.traffic.haproxy)


def _tried(what: str, check: Callable[[], str]) -> Discrepancy:
    """Run a check that gives what it found, or raises with what is wrong and what to do."""
    try:
        return Discrepancy("ok", what, check())
    except DeployError as error:
        return Discrepancy("bad", what, error.message, error.hint)


# -- the state folder


def _disk(folder: Path, unwritable: StoreFailed | None) -> Iterator[Discrepancy]:
    free = shutil.disk_usage(folder).free
    names = os.statvfs(folder)
    text = f"{folder}, {free // 1024**2} MiB free"
    if free < FREE_BYTES:
        yield Discrepancy("bad", STATE, text, f"free space: at least {FREE_BYTES // 1024**2} MiB")
    elif names.f_files and names.f_favail < FREE_FILES:
        yield Discrepancy("bad", STATE, f"{folder}, room for {names.f_favail} files", f"at least {FREE_FILES}")
    elif unwritable is not None:
        yield Discrepancy("bad", STATE, unwritable.message, unwritable.hint)
    else:
        yield Discrepancy("ok", STATE, text)


def _modes(folder: Path) -> Iterator[Discrepancy]:
    """Find what others may read that only its owner should."""
    there = (folder, *(path for pattern in _PRIVATE for path in sorted(folder.glob(pattern))))
    for path in there:
        mode = path.lstat().st_mode
        if not stat.S_ISLNK(mode) and mode & 0o077:
            right = 0o700 if stat.S_ISDIR(mode) else 0o600
            text = f"other users may read {path}" if mode & 0o044 else f"other users may write or enter {path}"
            cure = Fix(f"chmod {right:o} {path}", _chmod(path, right))
            yield Discrepancy("warn", STATE, text, f"chmod {right:o} {path}", cure)


def _chmod(path: Path, mode: int) -> Callable[[Lock | None], None]:
    def do(_lock: Lock | None) -> None:
        try:
            path.chmod(mode, follow_symlinks=False) if path.is_symlink() else path.chmod(mode)
        except OSError as error:
            raise StoreFailed(f"{path}: {error.strerror}", "do it as its owner") from None

    return do


def _shared(store: Store) -> Iterator[Discrepancy]:
    """Ask the database that several hosts share."""
    if store.shared is None:
        return
    try:
        look = store.shared.look()
    except StoreFailed as error:
        yield Discrepancy("bad", "store", error.message, error.hint)
        return
    text = f"{look.version}, {store.name}: {look.size / 1024**2:.0f} MiB, answers in {look.took * 1000:.0f} ms"
    if look.took > SLOW_SECONDS:
        yield Discrepancy("warn", "store", text, "each step waits for it several times: see its load, and the network")
    else:
        yield Discrepancy("ok", "store", text)
    if abs(look.ahead) > CLOCK_SECONDS:
        where = "ahead of" if look.ahead > 0 else "behind"
        text = f"that of the database is {abs(look.ahead):.0f} s {where} this host's"
        yield Discrepancy("bad", "clock", text, "set the one that is wrong; let both be kept right (NTP)")


def _whole(house: AppContext) -> Iterator[Discrepancy]:
    try:
        house.store.database.whole()
    except StoreFailed as error:
        yield Discrepancy("bad", "store", error.message, error.hint)


def _audit_log(house: AppContext) -> Discrepancy:
    chain = house.store.audit_log.verify()
    if chain.broken:
        return Discrepancy("bad", "audit log", chain.problem, "`deploy audit verify`; compare it with an export")
    return Discrepancy("ok", "audit log", f"{plural(chain.records, 'record')}, each follows the one before")


def _clock(house: AppContext) -> Iterator[Discrepancy]:
    """A clock that was set back: leases and warm times would last longer than they should."""
    ahead = latest(house.store) - house.clock.now()
    if ahead > CLOCK_SECONDS:
        text = f"it is {ahead:.0f} s before what was recorded last: leases and warm times would last too long"
        yield Discrepancy("bad", "clock", text, "set the clock; let it be kept right (NTP)")


def _reboot(folder: Path) -> Iterator[Discrepancy]:
    if trouble := unit.trouble(folder):
        yield Discrepancy("warn", "reboot", trouble, f"as root: deploy init --system --state {folder}")


# -- hosts of the inventory


def _hosts(house: AppContext, manifest: Manifest, folder: Path) -> Iterator[Discrepancy]:
    """Ask each host on which the service is to run, or its engine."""
    what = f"hosts of {manifest.hosts}"
    try:
        meant = house.find(manifest, folder)
        hosts = ServiceHosts((*meant.hosts, *meant.twin))
        runtime = house.wire(manifest, folder, hosts).runtime
        runtime.instances(manifest.service)
        deadly = _deadly(runtime)
    except HostsUnreachable as error:
        for host, why in error.silent.items():
            yield Discrepancy("bad", what, f"{host} is unreachable: {why}", error.hint)
    except DeployError as error:
        yield Discrepancy("bad", what, error.message, error.hint)
    else:
        names = ", ".join(host.name for host in hosts.every)
        yield Discrepancy(
            "ok",
            what,
            f"the engines of {names} are reachable" if manifest.runtime == "docker" else f"{names} are reachable",
        )
        for host in deadly:
            yield Discrepancy("warn", what, f"{host}: {ENDS_WITH_IT}", f"there: {LET_LIVE}")
        yield from _ending(what, hosts, house.clock)


def _guests(house: AppContext, manifest: Manifest, folder: Path) -> str:
    """Ask the engines for what the terms of a tenant take."""
    meant = house.find(manifest, folder)
    terms = terms_of(house, manifest, folder, meant)
    guests = house.wire(manifest, folder, house.meant(manifest.service, meant)).guests
    if terms and guests:
        guests.require(terms)
    return "each engine has what their terms ask for"


def _ending(what: str, hosts: ServiceHosts, clock: Clock) -> Iterator[Discrepancy]:
    """Yield our own certificates that end soon; `deploy hosts check` looks at those of the engines, too."""
    from deployer.drivers.hosts.readiness import ending

    for folder in dict.fromkeys(host.engine_certs for host in hosts.every if host.engine):
        for trait in ending(Certificates(Path(folder)).ends(), clock):
            yield Discrepancy(trait.level, what, trait.text, trait.remedy)


def _proxies(house: AppContext, manifest: Manifest, folder: Path) -> str:
    """Ask every proxy of several."""
    proxies = house.find(manifest, folder).proxies
    inspection = house.wire(manifest, folder, ServiceHosts((), (), proxies)).inspection
    _, silent = inspection.reachable()
    if silent:
        raise Unreachable("; ".join(silent.values()), "`deploy hosts check` says what is missing there")
    inspection.services()
    return f"those of {', '.join(host.name for host in proxies)} are reachable"


def _deadly(runtime: Runtime) -> tuple[str, ...]:
    from deployer.drivers.runtime.docker.fleet import DockerFleet

    return runtime.deadly() if isinstance(runtime, DockerFleet) else ()


# -- programs


def _programs(manifest: Manifest | None) -> Iterator[Discrepancy]:
    if manifest is None or (manifest.runtime == "docker" and manifest.hosts == "local"):
        yield from _engine()
    if manifest is not None and manifest.runtime == "incus":
        yield _tried("Incus", _incus)
    if manifest is not None and manifest.runtime == "swarm" and manifest.hosts == "local":
        yield _tried("Swarm", _swarm)
    ours = manifest is None or (manifest.traffic.haproxy is None and manifest.traffic.proxies.local)
    if ours and (manifest is None or manifest.port is not None):
        yield _tried("HAProxy", _haproxy)
    yield _ansible(_wants_ansible(manifest))
    if manifest is not None and manifest.verify is not None:
        yield _tried("cosign", _cosign)


def _cosign() -> str:
    from deployer.drivers.signatures.cosign import program

    return f"{program()}, for `verify`"


def _engine() -> Iterator[Discrepancy]:
    from deployer.core.clock import SystemClock
    from deployer.drivers.runtime.docker import DockerRuntime, Engine

    what, runtime = "Docker engine", DockerRuntime(SystemClock(), "doctor")
    try:
        runtime.require()
        lets_live = runtime.lets_live()
    except DeployError as error:
        yield Discrepancy("bad", what, error.message, error.hint)
        return
    yield Discrepancy("ok", what, f"is reachable at {Engine().address}")
    if not lets_live:
        yield Discrepancy("warn", what, ENDS_WITH_IT, LET_LIVE)


def _swarm() -> str:
    from deployer.core.clock import SystemClock
    from deployer.drivers.runtime.docker import DockerRuntime, Engine, FleetHost
    from deployer.drivers.runtime.swarm.view import SwarmView
    from deployer.planning.heartbeat import patience

    clock, engine = SystemClock(), Engine()
    engine.require()
    here = FleetHost("", engine, DockerRuntime(clock, "doctor", engine), clock)
    view = SwarmView("doctor", [here], (), {})
    nodes, waits = view.place().ready, patience(view.heartbeat())
    ready = f"{len(nodes)} {'node is' if len(nodes) == 1 else 'nodes are'} ready"
    return f"{ready}, by the manager at {engine.address}: {waits}"


def _incus() -> str:
    from deployer.core.clock import SystemClock
    from deployer.drivers.runtime.incus import virtual
    from deployer.drivers.runtime.incus.api import Incus

    incus = Incus(SystemClock())
    version = (incus.get("Incus", "/1.0") or {"environment": {}})["environment"].get("server_version", "of no version")
    lacking = virtual.missing(incus)
    machines = f", no virtual machines: {lacking}" if lacking else ", virtual machines, too"
    return f"{version}, at {incus.path}, project {incus.project}{machines}"


def _haproxy() -> str:
    from deployer.drivers.traffic.haproxy import binary

    found = binary.find()
    return f"{found.path}, version {'.'.join(map(str, found.version))}"


def _wants_ansible(manifest: Manifest | None) -> bool:
    if manifest is None:
        return False
    return manifest.runtime == "ansible" or bool(manifest.playbooks)


def _ansible(wanted: bool) -> Discrepancy:
    if find_spec("ansible") and find_spec("ansible_runner"):
        return Discrepancy("ok", "Ansible", "installed")
    remedy = extras.how_to_add("ansible")
    if wanted:
        return Discrepancy("bad", "Ansible", "the manifest names playbooks, but it is not installed", remedy)
    return Discrepancy("ok", "Ansible", f"not installed; only needed for playbooks ({remedy})")


# -- the HAProxy of a team


def _team_proxy(settings: HAProxy) -> Iterator[Discrepancy]:
    name, folder, socket = "your HAProxy", Path(settings.config), Path(settings.socket)
    if not folder.is_dir():
        yield Discrepancy("bad", name, f"{folder} is not a folder", f"mkdir {folder}, then start it with `-f {folder}`")
    elif not os.access(folder, os.W_OK):
        yield Discrepancy("bad", name, f"{folder} cannot be written", "run as its owner, or change its owner")
    else:
        yield Discrepancy("ok", name, f"{folder} can be written")
    if not socket.is_socket():
        remedy = f"start it with `-W -S {socket},mode,600`; if it runs so, the file was removed: restart it"
        yield Discrepancy("bad", name, f"there is no master socket at {socket}", remedy)
    elif folder.is_dir():
        yield _tried(name, lambda: _loads(settings))


def _loads(settings: HAProxy) -> str:
    """Ask the running proxy, and compare its command line with what it has to load."""
    from deployer.core.clock import Deadline, SystemClock
    from deployer.drivers.traffic.haproxy.proxy import TeamProxy

    clock = SystemClock()
    deadline = Deadline.after(clock, ANSWER_WITHIN)
    proxy = TeamProxy(settings, clock)
    proxy.require(deadline)
    workers = proxy.master.current(deadline)
    return f"is reachable at {settings.socket} with {len(workers)} worker{'s' * (len(workers) > 1)}"
