"""Where the running proxy, its files and what the files should be differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from deployer.core.clock import Deadline
from deployer.core.errors import DeployError, DriverFailed
from deployer.drivers.ports import Drift
from deployer.drivers.traffic.haproxy import layout, live_value, naming, reload, spec
from deployer.drivers.traffic.haproxy.live_map import LiveMap
from deployer.drivers.traffic.haproxy.master import Worker
from deployer.drivers.traffic.haproxy.proxy import Proxy
from deployer.drivers.traffic.haproxy.render import Files
from deployer.drivers.traffic.haproxy.servers import Servers
from deployer.drivers.traffic.haproxy.spec import Spec
from deployer.model import Live, Place, Server

T = TypeVar("T")


class Examination:
    """One look at a proxy and its files. The caller holds the lock of the folder."""

    def __init__(self, proxy: Proxy, live: LiveMap, servers: Servers, deadline: Deadline) -> None:
        self._proxy = proxy
        self._home = proxy.home
        self._live = live
        self._servers = servers
        self._deadline = deadline

    def drift(self, service: str) -> Iterator[Drift]:
        """Yield what differs: of the proxy as a whole, and of one service."""
        try:
            specs = spec.load_all(self._home.services)
            files = reload.files_of(self._proxy, specs, self._home)
        except DeployError as error:
            yield Drift(error.message, repairable=False, remedy=error.hint)
            return
        yield from self._written(files)
        yield from self._token()
        if self._live.structure(self._deadline) != files.structure:
            yield Drift("the proxy runs another configuration than its files say")
        if service in specs:
            yield from self._value(service)
            yield from self._members(specs[service])

    def wanted(self, service: str) -> tuple[Live, bool]:
        """Return the value that files and workers are to have, and whether having it moves users; the file has it then.

        It is that of the file; where that is lost, or an emergency moved users before it could write, that of the
        workers. Raises DriverFailed when there is none.
        """
        reload.remember(self._proxy, self._live, (service,), self._deadline)
        values = live_value.load(self._home.state)
        wanted = live_value.understood(service, values.get(service))
        if wanted is None:
            raise DriverFailed(
                f"neither the proxy nor its files have a live value for {service}", "`deploy up` deploys it again"
            )
        differing = {does for _, does in self.differing(service, wanted)}
        (does,) = differing if len(differing) == 1 else (None,)
        if does is None or not _gone_back(wanted, does):
            return wanted, bool(differing)
        live_value.save(
            self._home.state, {**values, service: live_value.encode(does, live_value.spent(values[service]))}
        )
        return does, False

    def missing(self, known: Spec) -> dict[Place, tuple[Server, ...]]:
        """Return the servers of the file that a worker does not know, by place."""
        return {place: found for place in known.places if (found := tuple(self._unknown(known, place)))}

    def _written(self, files: Files) -> Iterator[Drift]:
        for path, text in ((self._home.config, files.config), *files.others.items()):
            there = layout.read(path)
            if there != text:
                how = "is missing" if there is None else "was edited: it differs from what deployer wrote"
                yield Drift(f"{path} {how}")

    def _token(self) -> Iterator[Drift]:
        if not self._home.has_token():
            yield Drift(f"{self._home.token}, the secret of the preview route, is missing or open to other users")

    def _value(self, service: str) -> Iterator[Drift]:
        text = live_value.load(self._home.state).get(service)
        wanted = live_value.understood(service, text)
        if wanted is None:
            yield Drift(f"{self._home.state} has {text or 'nothing'} for {service}, which is no live value")
            return
        for worker, does in self.differing(service, wanted):
            has = does.explain() if does else "nothing that can be read"
            yield Drift(f"worker {worker.pid} of the proxy has {has}, its files say {wanted.explain()}")

    def differing(self, service: str, wanted: Live) -> Iterator[tuple[Worker, Live | None]]:
        """Yield the workers that do something else than is wanted, with what they do."""
        texts = self._everywhere(lambda worker: self._live.get(worker, service, self._deadline))
        for worker, text in texts.items():
            does = live_value.understood(service, text)
            if does != wanted:
                yield worker, does

    def _members(self, known: Spec) -> Iterator[Drift]:
        for place in known.places:
            names = ", ".join(server.name for server in self._unknown(known, place))
            if names:
                yield Drift(f"the proxy's files have {names} in {place}, the running proxy has not")

    def _unknown(self, known: Spec, place: Place) -> Iterator[Server]:
        called = naming.backend(known.service, place)
        seen = self._everywhere(lambda worker: self._servers.seen(worker, called, self._deadline))
        for member in known.side(place).members:
            if not member.leaving and not all(member.name in there for there in seen.values()):
                yield Server(member.name, member.address)

    def _everywhere(self, ask: Callable[[Worker], T]) -> dict[Worker, T]:
        """Ask every current worker the same."""
        master = self._proxy.master
        return master.undisturbed(lambda: {w: ask(w) for w in master.current(self._deadline)}, self._deadline)


def _gone_back(file: Live, does: Live) -> bool:
    """Return whether workers do what an emergency makes of the value in the file: it moves users before it writes."""
    if does.share or does.baseline or does.rollout != file.rollout:
        return False
    return does.stable == file.stable or bool(file.warm)
