"""The state folder with everything needed to act on it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from deployer.core import later
from deployer.core.clock import Clock
from deployer.core.errors import Refused
from deployer.core.events import Event, Sink
from deployer.core.host import LOCAL, Host, Meant, ServiceHosts
from deployer.planning.orders import StopRequest
from deployer.store import Store
from deployer.store.vault import Vault

if TYPE_CHECKING:
    from deployer.app.operations.notifications import Announcer
    from deployer.drivers.certificates import CertificateKeeper
    from deployer.drivers.ports import Drivers, ImageFiles, Notifier, ServiceData
    from deployer.manifest.models import Manifest
    from deployer.model import Release


@dataclass
class AppContext:
    """The state folder with everything needed to act on it."""

    store: Store
    vault: Vault
    clock: Clock
    wire: Callable[[Manifest, Path, ServiceHosts], Drivers]
    ports: Sequence[int]
    notifier: Notifier
    certificates: CertificateKeeper
    sink: Sink = lambda _event: None
    stop: StopRequest = field(default_factory=StopRequest)  # how whoever opened it asks for an early end
    # The hosts that a manifest in a folder means
    find: Callable[[Manifest, Path], Meant] = lambda _manifest, _folder: Meant()
    close: Callable[[], None] = lambda: None  # what drivers have opened
    # The runtimes that can have something of any service here
    runtimes: Callable[[], Sequence[str]] = lambda: ("process", "docker", "ansible")
    # The engine of this host, as bundles use it
    images: ImageFiles = field(default_factory=lambda: later.made(_no_engine))
    # The data of a service with a manifest in a folder, as bundles bring it
    data: Callable[[Manifest, Path], ServiceData] = lambda _manifest, _folder: _no_data()
    # What a drive of a rollout (service and number) tells, traced beside
    traced: Callable[[str, int, Sink], Sink] = lambda _service, _rollout, sink: sink

    _making: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @cached_property
    def announcer(self) -> Announcer:
        """What it has to tell people elsewhere: one for all threads."""
        from deployer.app.operations.notifications import Announcer

        with self._making:
            made = vars(self).get("announcer")
            if made is None:
                made = Announcer(self.store, self.vault, self.notifier, lambda event: self.sink(event), self.clock)
                vars(self)["announcer"] = made
            return made

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.finish()
        finally:
            self.store.close()

    def finish(self) -> None:
        """Wait, not long, for what it has to tell people, and close what drivers have opened; the store stays open."""
        try:
            if "announcer" in vars(self):
                self.announcer.close()
        finally:
            self.close()

    def drivers(self, release: Release, folder: Path = Path()) -> Drivers:
        """Return the drivers of a recorded release; they reach every host on which something of its service may stand.

        No manifest and no inventory is read for it.
        """
        hosts = self.hosts(release.service, self._reached(release))
        return self.wire(release.manifest, folder, replace(hosts, proxies=self._proxies(release)))

    def _reached(self, release: Release) -> tuple[Host, ...]:
        """Return its hosts as the newest release that names them describes them: that is how they are reached now."""
        newest = {host.name: host for r in reversed(self.store.releases.of(release.service)) for host in r.fleet}
        return tuple(newest.get(host.name, host) for host in release.fleet)

    def _proxies(self, release: Release) -> tuple[Host, ...]:
        """Return the proxies that its users reach: those of the newest release that names some, if it names any."""
        if not release.proxies:
            return ()
        named = (r.proxies for r in self.store.releases.of(release.service) if r.proxies)  # newest first
        return next(named, release.proxies)

    def meant(self, service: str, meant: Meant) -> ServiceHosts:
        """Return the hosts that a manifest means, and the others on which something of its service may stand."""
        return replace(self.hosts(service, (*meant.hosts, *meant.twin)), proxies=meant.proxies)

    def hosts(self, service: str, wanted: Sequence[Host] = ()) -> ServiceHosts:
        """Return the wanted hosts, and the others on which something of a service may stand."""
        held = self.store.ports.of(service)
        standing = {port.release for port in held}
        releases = [r for r in reversed(self.store.releases.of(service)) if r.number in standing]
        others = [host for release in releases for host in self._reached(release)]
        if others and not wanted:
            wanted = (LOCAL,)
        elif wanted and any(not port.host for port in held):
            others.append(LOCAL)
        return ServiceHosts(tuple(wanted), tuple(others))

    def anywhere(self, hosts: Sequence[Host] = ()) -> dict[str, Drivers]:
        """Return the drivers of each kind of runtime, with our own proxy: for questions that are about no manifest.

        They reach this host, `hosts`, and every one on which something of a service of the store may stand.
        """
        known = [host for service in self.store.services.all() for host in self.hosts(service.name).others]
        every = ServiceHosts((), (*known, *hosts, LOCAL)) if (*known, *hosts) else ServiceHosts()
        return {kind: self.wire(_bare(kind), Path(), every) for kind in self.runtimes()}

    def tell(self, service: str, text: str) -> None:
        """Send a note that belongs to no rollout yet."""
        self.sink(Event("note", self.clock.now(), service, 0, {"text": text}))


def _bare(kind: str) -> Manifest:
    from deployer.manifest.models import Manifest

    own: dict[str, dict[str, Any]] = {"ansible": {"verbs": "systemd"}, "incus": {"command": None}}
    any_one = {"service": "any", "image": "any", "port": 1, "runtime": kind, "command": ["any"]}
    return Manifest.model_validate({**any_one, **own.get(kind, {})})


def _no_data() -> ServiceData:
    raise Refused("no driver is wired for data", "open the state folder by `open_house`")


def _no_engine() -> ImageFiles:
    raise Refused("no engine is wired for images", "open the state folder by `open_house`")
