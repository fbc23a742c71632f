"""The one place that knows concrete drivers: from a state folder and a manifest to a house in which things work."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, cast

from deployer.app.homes import elsewhere
from deployer.app.operations import AppContext
from deployer.core import later
from deployer.core.clock import Clock, Deadline, SystemClock
from deployer.core.errors import Refused
from deployer.core.events import Event, Sink
from deployer.core.host import LOCAL, Host, Meant, ServiceHosts
from deployer.core.resources import builtin
from deployer.drivers.ports import Drivers
from deployer.drivers.tracing import Traces
from deployer.planning import release_record
from deployer.planning.orders import StopRequest
from deployer.store import Store
from deployer.store.opening import open_store

if TYPE_CHECKING:
    from deployer.drivers.certificates import CertificateKeeper
    from deployer.drivers.jobs import JobRuntime
    from deployer.drivers.ports import (
        Builder,
        CertificateProxy,
        Checks,
        ImageFiles,
        MetricSources,
        Notifier,
        Playbooks,
        Runtime,
        RuntimeCare,
        ServiceData,
        Signatures,
        TrafficLayer,
        Verbs,
    )
    from deployer.drivers.ports.moving import Mover
    from deployer.drivers.ports.pausing import Pauser
    from deployer.drivers.ports.sleeping import Sleeper
    from deployer.drivers.runtime.ansible.host_presence import HostPresence
    from deployer.drivers.runtime.docker import DockerFleet, DockerRuntime
    from deployer.drivers.runtime.docker.engine_pool import EnginePool
    from deployer.drivers.runtime.swarm import SwarmRuntime
    from deployer.drivers.traffic.proxies import Proxies
    from deployer.manifest.models import Manifest

PORTS = "21000-28999"  # below the range that the kernel hands out to clients (ip_local_port_range, 32768 and up)


def open_house(
    state: Path,
    sink: Sink = lambda _event: None,
    stop: StopRequest | None = None,
    clock: Clock | None = None,
    store: Store | None = None,
) -> AppContext:
    """Open a state folder, making it when it is new; `store` is one that is open already.

    Raise Refused when it cannot be used.
    """
    clock = clock or SystemClock()
    state = state.expanduser().absolute()
    store = store or open_store(state, clock)
    locked = threading.Lock()

    def one_at_a_time(event: Event) -> None:
        with locked:
            sink(event)

    wiring = _Wiring(state, store, clock)
    certificates = later.made(lambda: _certificates(state, clock))
    traces = Traces(lambda: store.secret("installation"), os.environ)

    def close() -> None:
        if trouble := traces.close():
            one_at_a_time(Event("note", clock.now(), "", 0, {"text": trouble}))
        wiring.close()

    return AppContext(
        store=store,
        vault=store.vault,
        clock=clock,
        wire=wiring.wire,
        ports=_ports(),
        notifier=later.made(lambda: _sender(clock)),
        certificates=certificates,
        sink=one_at_a_time,
        stop=stop or StopRequest(),
        find=wiring.find,
        close=close,
        images=later.made(lambda: _images(store)),
        data=wiring.data,
        runtimes=_runtimes,
        traced=traces.beside,
    )


def _sender(clock: Clock) -> Notifier:
    from deployer.drivers.notify import Sender

    return Sender(clock)


def _runtimes() -> tuple[str, ...]:
    """Return the runtimes that can have something here: Incus where it listens, a Swarm that the engine manages."""
    from deployer.drivers.runtime.docker.engine import Engine
    from deployer.drivers.runtime.incus.api import socket_path

    incus = ("incus",) * Path(socket_path(os.environ)).exists()
    return ("process", "docker", "ansible", *incus, *("swarm",) * Engine().manages())


def _images(store: Store) -> ImageFiles:
    from deployer.drivers.runtime.docker.image_files import DockerImages

    return DockerImages(store.secret("installation"))


def _certificates(state: Path, clock: Clock) -> CertificateKeeper:
    from deployer.drivers.certificates import CertificateKeeper

    return CertificateKeeper(state, clock)


def _metrics(folder: Path, runtime: Runtime) -> MetricSources:
    from deployer.drivers.metrics import SourceMetrics

    return SourceMetrics(folder, runtime)


def _signatures(folder: Path) -> Signatures:
    from deployer.drivers.signatures import Cosign

    return Cosign(folder)


def _player(manifest: Manifest, folder: Path) -> Verbs:
    from deployer.drivers.hosts.verbs import AnsibleVerbs

    return AnsibleVerbs(folder.absolute() / manifest.inventory if manifest.inventory else None)


def _builder(folder: Path) -> Builder:
    from deployer.drivers.runtime.docker.builder import DockerBuilder

    return DockerBuilder(folder)


class _Wiring:
    """What the drivers of one house share: the ways to hosts."""

    def __init__(self, state: Path, store: Store, clock: Clock) -> None:
        self._state, self._store, self._clock = state, store, clock
        self._reach: EnginePool | None = None
        self._presence: HostPresence | None = None
        self._proxies: Proxies | None = None
        self._making = threading.Lock()  # members of a set ask at the same time

    def wire(self, manifest: Manifest, folder: Path, hosts: ServiceHosts) -> Drivers:
        """Make the drivers of a manifest that lies in `folder`."""
        self._refuse_elsewhere(manifest)
        runtime = self._runtime(manifest, folder, hosts)
        proxy = self._proxy(manifest, hosts) if manifest.port is not None else None
        layer: TrafficLayer = proxy or self._proxyless(runtime)
        return Drivers(
            runtime=runtime,
            traffic=layer,
            inspection=layer.inspection,
            upkeep=layer.upkeep,
            certificates=proxy.certificates if proxy else None,
            checks=later.made(lambda: self._checks(runtime)),
            playbooks=later.made(lambda: self._playbooks(manifest, folder)),
            metrics=later.made(lambda: _metrics(folder, runtime)),
            signatures=later.made(lambda: _signatures(folder)),
            builder=later.made(lambda: _builder(folder)),
            jobs=later.made(lambda: self._jobs(manifest, hosts)),
            sleeper=self._sleeper(manifest),
            guests=self._docker(hosts).guests if manifest.tenant else None,
            pauser=cast("Pauser", runtime) if manifest.runtime == "ansible" else None,
            mover=cast("Mover", runtime) if manifest.runtime == "swarm" else None,
        )

    def _refuse_elsewhere(self, manifest: Manifest) -> None:
        """Refuse to look from here for what is on another control host."""
        if why := elsewhere(self._store, manifest):
            raise Refused(why, "run the command there; what a service needs to be on both is in docs/store.md")

    def _sleeper(self, manifest: Manifest) -> Sleeper | None:
        """Return what puts a service to sleep and knows what sleeps, of any release."""
        if (manifest.scale is None or not manifest.scale.sleeps) and not self._sleeps(manifest.service):
            return None
        from deployer.drivers.sleeping import LocalSleeper

        return LocalSleeper(self._state, self._clock)

    def _sleeps(self, service: str) -> bool:
        from deployer.drivers.traffic.haproxy.spec_facts import SpecFacts

        return bool(SpecFacts(self._state / "proxy" / "services", service).asleep())

    def _checks(self, runtime: Runtime) -> Checks:
        from deployer.drivers.checks import DirectChecks

        return DirectChecks(runtime, self._clock)

    def _playbooks(self, manifest: Manifest, folder: Path) -> Playbooks:
        from deployer.drivers.hosts import AnsiblePlaybooks
        from deployer.drivers.hosts.inventory import chosen

        return AnsiblePlaybooks(folder, builtin("playbooks"), chosen(manifest.inventory, folder), self._clock)

    def _proxyless(self, runtime: Runtime) -> TrafficLayer:
        from deployer.drivers.traffic.proxyless import ProxylessTraffic

        return ProxylessTraffic(self._state, runtime)

    def _proxy(self, manifest: Manifest, hosts: ServiceHosts) -> CertificateProxy:
        proxy, tls = self._bare_proxy(manifest, hosts), manifest.traffic.tls
        if tls is None or tls.auto is None:
            return proxy
        from deployer.drivers.certificates import supplied

        return supplied(proxy, _certificates(self._state, self._clock), tls.auto, manifest.traffic.domains)

    def _bare_proxy(self, manifest: Manifest, hosts: ServiceHosts) -> CertificateProxy:
        if hosts.proxies:
            from deployer.drivers.traffic.proxies import Proxies

            with self._making:
                self._proxies = proxies = self._proxies or Proxies(self._clock, self._state)
            return proxies.several(hosts.proxies, manifest.traffic, self._chain_key(manifest))
        from deployer.drivers.traffic.haproxy import HAProxyTraffic

        existing, key = manifest.traffic.haproxy, self._chain_key(manifest)
        return HAProxyTraffic(self._state / "proxy", self._clock, existing=existing, state=self._state, chain_key=key)

    def _chain_key(self, manifest: Manifest) -> str:
        """Return the key by which the services of a chain know each other's stamps, whichever proxy they are behind."""
        if manifest.traffic.chain is None:
            return ""
        from deployer.drivers.traffic.haproxy import chain

        return chain.key_of(self._store.secret(f"chain {manifest.traffic.chain.name}"))

    def _runtime(self, manifest: Manifest, folder: Path, hosts: ServiceHosts) -> RuntimeCare:
        if manifest.runtime == "process":
            from deployer.drivers.runtime.process import ProcessRuntime

            return ProcessRuntime(self._state, self._clock, self._store.secret("installation"))
        if manifest.runtime == "ansible":
            return self._ansible(manifest, folder, hosts)
        if manifest.runtime == "incus":
            from deployer.drivers.runtime.incus import IncusRuntime

            return IncusRuntime(self._clock, self._store.secret("installation"), release_record.home(self._state))
        if manifest.runtime == "swarm":
            return self._swarm(hosts)
        return self._docker(hosts)

    def _docker(self, hosts: ServiceHosts) -> DockerRuntime | DockerFleet:
        if hosts.every:
            return self._engines().fleet(hosts)
        from deployer.drivers.runtime.docker import DockerRuntime

        home = release_record.home(self._state)
        return DockerRuntime(self._clock, self._store.secret("installation"), home=home)

    def _swarm(self, hosts: ServiceHosts) -> SwarmRuntime:
        from deployer.drivers.runtime.swarm import SwarmRuntime
        from deployer.drivers.runtime.swarm.runtime import SwarmOwner

        every = tuple({host.name: host for host in (*hosts.every, LOCAL)}.values())
        owner = SwarmOwner(self._store.secret("installation"), release_record.home(self._state))
        wanted = [host.name for host in hosts.wanted if host.name]
        addresses = {host.name: host.address for host in every if host.name}
        return SwarmRuntime(self._clock, owner, self._engines().links(every), wanted, addresses)

    def _engines(self) -> EnginePool:
        from deployer.drivers.runtime.docker.engine_pool import EnginePool

        installation, home = self._store.secret("installation"), release_record.home(self._state)
        with self._making:
            self._reach = pool = self._reach or EnginePool(self._clock, installation, home)
        return pool

    def _jobs(self, manifest: Manifest, hosts: ServiceHosts) -> JobRuntime:
        if manifest.runtime == "process":
            from deployer.drivers.runtime.process.jobs import ProcessJobs

            return ProcessJobs(self._state, self._clock, self._store.secret("installation"))
        if manifest.runtime in ("ansible", "incus", "swarm"):
            raise Refused(f"{manifest.service}: runtime {manifest.runtime} runs no jobs", "use cron of its hosts")
        return self._docker(hosts).jobs

    def _ansible(self, manifest: Manifest, folder: Path, hosts: ServiceHosts) -> RuntimeCare:
        from deployer.drivers.runtime.ansible import AnsibleRuntime
        from deployer.drivers.runtime.ansible.host_presence import HostPresence
        from deployer.drivers.runtime.ansible.runtime import Ground

        with self._making:
            self._presence = presence = self._presence or HostPresence(self._clock)
        ground = Ground(self._state, self._store.secret("installation"), folder)
        return AnsibleRuntime(ground, _player(manifest, folder), hosts, presence, self._clock)

    def data(self, manifest: Manifest, folder: Path) -> ServiceData:
        """Return where the data of a service is. Raise Refused where nothing can be known of it."""
        scratch, meant = self._state / "data", self.find(manifest, folder)
        if manifest.runtime == "process":
            from deployer.drivers.runtime.process.data import ProcessData

            runtime, jobs = self._runtime(manifest, folder, ServiceHosts()), self._jobs(manifest, ServiceHosts())
            return ProcessData(manifest, runtime, jobs, scratch)
        if manifest.runtime in ("incus", "swarm"):  # the instances of a Swarm may have written on any node
            why = f"{manifest.service}: a bundle cannot have data of runtime {manifest.runtime}"
            raise Refused(why, "save it by a command: docs/bundles.md, Data")
        if meant.twin:
            names = ", ".join(host.name for host in (*meant.hosts, *meant.twin))
            raise Refused(f"{manifest.service} runs on {names} by turns: either may have its data", "see `twin`")
        if manifest.runtime == "ansible":
            from deployer.drivers.runtime.ansible.data import AnsibleData

            if meant.hosts[1:]:
                names = ", ".join(host.name for host in meant.hosts)
                raise Refused(f"{manifest.service} runs on {names}: each has data of its own", "name one host")
            host = meant.hosts[0] if meant.hosts else None
            return AnsibleData(manifest, folder, host, _player(manifest, folder), scratch)
        if meant.hosts:
            return self._engines().data(meant.hosts, manifest.mounts, scratch)
        from deployer.drivers.runtime.docker.data import DockerData

        return DockerData(manifest.mounts, scratch)

    def find(self, manifest: Manifest, folder: Path) -> Meant:
        """Read from the inventory which hosts a manifest means. Raises Refused."""
        if manifest.hosts == "local":
            return Meant()
        from deployer.drivers.hosts.addresses import numeric
        from deployer.drivers.hosts.inventory import READ_SECONDS, chosen, hosts
        from deployer.manifest import tenants

        inventory = chosen(manifest.inventory, folder)
        if manifest.tenant:  # files beside its manifest may be somebody else's, and an `ansible.cfg` names programs
            tenants.refuse_foreign(manifest.inventory, folder, os.environ)
            folder = tenants.path_for(manifest.inventory, folder, os.environ).parent
        deadline = Deadline.after(self._clock, READ_SECONDS)

        def of(pattern: str) -> tuple[Host, ...]:
            return numeric(hosts(inventory, pattern, deadline, folder=folder), deadline)

        return Meant(
            of(manifest.hosts),
            of(manifest.twin.hosts) if manifest.twin else (),
            () if manifest.traffic.proxies.local else of(manifest.traffic.proxies.hosts),
        )

    def close(self) -> None:
        """End what was opened."""
        for ways in (self._reach, self._proxies):
            if ways is not None:
                ways.close()


def _ports() -> range:
    given = os.environ.get("DEPLOYER_PORTS", PORTS)
    match = re.fullmatch("([0-9]{4,5})-([0-9]{4,5})", given)
    first, last = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1024 <= first <= last <= 65535:
        raise Refused(f"DEPLOYER_PORTS is {given!r}", f"write it like {PORTS}: two ports from 1024 to 65535")
    return range(first, last + 1)
