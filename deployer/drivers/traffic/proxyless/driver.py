"""The traffic layer of services without a port.

STATE/live/SERVICE has the live value, written as a whole; what runs in a colour is read from the runtime. There is no
proxy that could send requests anywhere, so a candidate has no share: it works as soon as it runs. Only the owner of the
service's lock writes: no emergency moves anything here, and no share has a lease to renew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Self

from deployer.core import files
from deployer.core.clock import Deadline
from deployer.core.errors import DriverFailed, NoServerUp
from deployer.drivers.ports import NOTHING, Drift, Runtime, TrafficLayer, live_file, standing
from deployer.drivers.traffic.proxyless.no_requests import NoRequests
from deployer.drivers.traffic.turns import refuse_older
from deployer.model import INITIAL, Live, Place, Release, Server

REMEDY = "`deploy doctor --fix` writes it again"


class ProxylessTraffic(NoRequests):
    """Keeps which colour is live of services without users. `folder` is the state folder."""

    def __init__(self, folder: Path, runtime: Runtime) -> None:
        self._state = folder
        self._runtime = runtime

    @property
    def inspection(self) -> Self:
        """What only looks: the same."""
        return self

    @property
    def upkeep(self) -> Self:
        """What keeps it right: the same."""
        return self

    # -- the live value

    def read(self, service: str) -> Live | None:
        """Read the live value; None before the first deploy. Raise DriverFailed for one that is damaged."""
        path = self._path(service)
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            return Live(**{name: value[name] for name in asdict(INITIAL) if name in value or name != "token"})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise DriverFailed(f"{path} cannot be read: {type(error).__name__}", REMEDY) from None

    def set_traffic(self, service: str, live: Live, deadline: Deadline, given: Live | None = None) -> None:
        """Write the live value. Raise NoServerUp, changing nothing, when nothing runs in a colour that it names.

        Raise LockLost, too, when a later owner of the lock has written.
        """
        refuse_older(service, live, self.read(service))
        for place in live.used:
            if not any(up for _, up in self.servers(service, place)):
                raise NoServerUp(f"{service}: nothing runs in {place}", "see `deploy logs`")
        self._write(service, live)

    def configure(self, release: Release, place: Place | None, deadline: Deadline) -> None:
        """Note a service that is new; there is nothing to configure of one that is known."""
        if place is not None and self.read(release.service) is None:
            self._write(release.service, INITIAL)

    def forget(self, service: str, deadline: Deadline) -> None:
        """Remove the live value."""
        self._path(service).unlink(missing_ok=True)

    def repair(self, service: str, deadline: Deadline, lost: Mapping[str, Live] = NOTHING) -> None:
        """Write a live value again that is damaged or gone: the one that holds by the records."""
        if service in lost and self._fault(service):
            self._write(service, lost[service])

    def drift(self, service: str) -> tuple[Drift, ...]:
        """Return what is wrong with the file; what runs needs no comparison, as it is read where it runs."""
        fault = self._fault(service)
        return (Drift(fault),) if fault and self._path(service).exists() else ()

    def services(self) -> tuple[str, ...]:
        """Name the services that have a live value, sorted."""
        return tuple(sorted(p.name for p in self._path("").glob("[a-z]*")))

    def reachable(self) -> tuple[TrafficLayer, Mapping[str, str]]:
        """Return itself: there is no proxy that could be unreachable."""
        return self, {}

    # -- what runs

    def servers(self, service: str, place: Place) -> tuple[tuple[Server, bool], ...]:
        """Read the instances of a place, and whether each one runs and is not known to be ill."""
        there = (i for i in standing(self._runtime, service).instances if i.colour == place)
        return tuple((Server(i.name, i.address), i.state == "running" and i.health != "unhealthy") for i in there)

    # -- the file

    def _fault(self, service: str) -> str:
        try:
            return "" if self.read(service) else "there is no live value"
        except DriverFailed as error:
            return error.message

    def _path(self, service: str) -> Path:
        return live_file(self._state, service)

    def _write(self, service: str, live: Live) -> None:
        try:
            files.folder(self._path(service).parent)
            files.replace(self._path(service), json.dumps(asdict(live)))
        except OSError as error:
            hint = "is the disk full, or read-only?"
            raise DriverFailed(f"{self._path(service)} cannot be written: {error.strerror}", hint) from error
