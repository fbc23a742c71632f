"""The one place that knows concrete drivers: from a state folder and a manifest to a house in which things work."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from pathlib import Path

from deployer import carried
from deployer.clock import Clock, SystemClock
from deployer.drivers.ports import Drivers, Runtime
from deployer.errors import Refused
from deployer.events import Event, Sink
from deployer.manifest.models import Manifest
from deployer.operations import House
from deployer.resources import builtin
from deployer.store import Store
from deployer.store.vault import Vault

PORTS = "21000-28999"  # below the range that the kernel hands out to clients (ip_local_port_range, 32768 and up)


def open_house(
    state: Path,
    sink: Sink = lambda _event: None,
    stop_asked: threading.Event | None = None,
    clock: Clock | None = None,
    store: Store | None = None,
    *,
    detach: bool = False,
) -> House:
    """Open a state folder, making it when it is new; `store` is one that is open already.

    Once `stop_asked` is set, a rollout is taken back, or with `detach` left where it is.

    Raises Refused when it cannot be used.
    """
    clock = clock or SystemClock()
    state = state.expanduser().absolute()
    store = store or Store(state, clock)
    locked = threading.Lock()

    def one_at_a_time(event: Event) -> None:
        with locked:
            sink(event)

    return House(
        store=store,
        vault=Vault(state / "secrets"),
        clock=clock,
        wire=_wirer(state, store, clock),
        ports=_ports(),
        sink=one_at_a_time,
        stop_asked=stop_asked or threading.Event(),
        detach=detach,
    )


def _wirer(state: Path, store: Store, clock: Clock) -> Callable[[Manifest, Path], Drivers]:
    def wire(manifest: Manifest, folder: Path) -> Drivers:
        from deployer.drivers.checks import DirectChecks
        from deployer.drivers.metrics import SourceMetrics
        from deployer.drivers.signatures import Cosign
        from deployer.drivers.traffic.haproxy import HAProxyTraffic
        from deployer.hosts import AnsiblePlaybooks
        from deployer.hosts.inventory import chosen

        runtime = _runtime(manifest, state, store, clock)
        return Drivers(
            runtime=runtime,
            traffic=HAProxyTraffic(state / "proxy", clock, existing=manifest.traffic.haproxy, state=state),
            checks=DirectChecks(runtime, clock),
            playbooks=AnsiblePlaybooks(folder, builtin("playbooks"), chosen(manifest.inventory, folder), clock),
            metrics=SourceMetrics(folder),
            signatures=Cosign(folder),
        )

    return wire


def _runtime(manifest: Manifest, state: Path, store: Store, clock: Clock) -> Runtime:
    installation = store.secret("installation")
    if manifest.runtime == "process":
        from deployer.drivers.runtime.process import ProcessRuntime

        return ProcessRuntime(state, clock, installation)
    from deployer.drivers.runtime.docker import DockerRuntime

    return DockerRuntime(clock, installation, home=carried.home(state))


def _ports() -> range:
    given = os.environ.get("DEPLOYER_PORTS", PORTS)
    match = re.fullmatch("([0-9]{4,5})-([0-9]{4,5})", given)
    first, last = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1024 <= first <= last <= 65535:
        raise Refused(f"DEPLOYER_PORTS is {given!r}", f"write it like {PORTS}: two ports from 1024 to 65535")
    return range(first, last + 1)
