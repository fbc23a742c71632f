"""The traffic layer of services without a port.

STATE/live/SERVICE has the live value, written as a whole; what runs in a colour is read from the runtime. There is no
proxy that could send requests anywhere, so a candidate has no share: it works as soon as it runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from deployer.core import files
from deployer.core.clock import Deadline
from deployer.core.errors import DriverFailed, NoServerUp, TakenBack
from deployer.drivers.ports import NOTHING, Drift, Runtime, Samples, TrafficCare, standing
from deployer.model import (
    INITIAL,
    Counts,
    Live,
    MeasuredTraffic,
    Place,
    Release,
    Sample,
    Server,
    taken_back,
)

if TYPE_CHECKING:
    from deployer.manifest.models import Manifest
    from deployer.planning.certificates import ServedCertificate

REMEDY = "`deploy doctor --fix` writes it again"


class ProxylessTraffic:
    """Keeps which colour is live of services without users. `folder` is the state folder."""

    def __init__(self, folder: Path, runtime: Runtime) -> None:
        self._folder = folder / "live"
        self._runtime = runtime

    # -- the live value

    def read(self, service: str) -> Live | None:
        """Read the live value; None before the first deploy. Raise DriverFailed for one that is damaged."""
        path = self._path(service)
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            return Live(**{name: value[name] for name in asdict(INITIAL)})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise DriverFailed(f"{path} cannot be read: {type(error).__name__}", REMEDY) from None

    def set_traffic(self, service: str, live: Live, deadline: Deadline, given: Live | None = None) -> None:  # noqa: ARG002 - the port's signature
        """Write the live value. Raise NoServerUp, changing nothing, when nothing runs in a colour that it names."""
        if taken_back(given, self.read(service)):
            raise TakenBack(f"{service}: the share of the candidate was ended meanwhile")
        for place in live.used:
            if not any(up for _, up in self.servers(service, place)):
                raise NoServerUp(f"{service}: nothing runs in {place}", "see `deploy logs`")
        self._write(service, live)

    def configure(self, release: Release, place: Place | None, deadline: Deadline) -> None:  # noqa: ARG002 - the port's signature
        """Note a service that is new; there is nothing to configure of one that is known."""
        if place is not None and self.read(release.service) is None:
            self._write(release.service, INITIAL)

    def forget(self, service: str, deadline: Deadline) -> None:  # noqa: ARG002 - the port's signature
        """Remove the live value."""
        self._path(service).unlink(missing_ok=True)

    def repair(self, service: str, deadline: Deadline, lost: Mapping[str, Live] = NOTHING) -> None:  # noqa: ARG002 - the port's signature
        """Write a live value again that is damaged or gone: the one that holds by the records."""
        if service in lost and self._fault(service):
            self._write(service, lost[service])

    def drift(self, service: str) -> tuple[Drift, ...]:
        """Return what is wrong with the file; what runs needs no comparison, as it is read where it runs."""
        fault = self._fault(service)
        return (Drift(fault),) if fault and self._path(service).exists() else ()

    def _fault(self, service: str) -> str:
        try:
            return "" if self.read(service) else "there is no live value"
        except DriverFailed as error:
            return error.message

    def _path(self, service: str) -> Path:
        return self._folder / service

    def _write(self, service: str, live: Live) -> None:
        try:
            files.folder(self._folder)
            files.replace(self._path(service), json.dumps(asdict(live)))
        except OSError as error:
            raise DriverFailed(f"{self._path(service)} cannot be written: {error.strerror}") from error

    # -- what runs

    def servers(self, service: str, place: Place) -> tuple[tuple[Server, bool], ...]:
        """Read the instances of a place, and whether each one runs and is not known to be ill."""
        there = (i for i in standing(self._runtime, service).instances if i.colour == place)
        return tuple((Server(i.name, i.address), i.state == "running" and i.health != "unhealthy") for i in there)

    def attach(self, service: str, place: Place, servers: Sequence[Server], deadline: Deadline) -> None:
        """There is nothing that would have to know an instance: it works as soon as it runs."""

    def introduce(self, service: str, place: Place, servers: Sequence[Server], deadline: Deadline) -> None:
        """There is nothing that would check an instance."""

    def detach(self, service: str, place: Place, names: Sequence[str], deadline: Deadline) -> None:
        """There is nothing that would have to forget an instance."""

    def services(self) -> tuple[str, ...]:
        """Name the services that have a live value, sorted."""
        return tuple(sorted(p.name for p in self._folder.glob("[a-z]*")))

    def install(self, given: Sequence[ServedCertificate], deadline: Deadline) -> None:
        """There is no domain that a certificate would be for."""

    def certificates(self, service: str) -> Mapping[str, Mapping[str, str]]:  # noqa: ARG002 - the port's signature
        """Return none."""
        return {}

    def check(self, manifest: Manifest, deadline: Deadline) -> None:
        """Every manifest without a port will do."""

    def reachable(self) -> tuple[TrafficCare, Mapping[str, str]]:
        """Return itself: there is no proxy that could be unreachable."""
        return self, {}

    # -- requests, of which there are none

    def drain(self, service: str, place: Place, names: Sequence[str], deadline: Deadline) -> int:  # noqa: ARG002 - the port's signature
        """Return 0: no request is open."""
        return 0

    def hand_over(self, service: str, place: Place, part: float, deadline: Deadline) -> int:  # noqa: ARG002 - the port's signature
        """Return 0: no connection is open."""
        return 0

    def spent(self, service: str) -> int:  # noqa: ARG002 - the port's signature
        """Return 0: nobody saw a failed response."""
        return 0

    def connections(self, service: str) -> Mapping[Place, int]:  # noqa: ARG002 - the port's signature
        """Return no connections."""
        return {}

    def measured(self, service: str) -> MeasuredTraffic | None:  # noqa: ARG002 - the port's signature
        """Return None: there are no requests to measure."""
        return None

    def preview(self, service: str) -> tuple[str, dict[str, str]]:
        """Raise DriverFailed: no request reaches a candidate."""
        raise DriverFailed(f"{service} has no port, so no request reaches its candidate", "add `port` to the manifest")

    @contextmanager
    def samples(self, service: str) -> Iterator[Samples]:  # noqa: ARG002 - the port's signature
        """Open a stream in which nothing comes."""
        yield _Silence()


class _Silence:
    """No requests."""

    def take(self) -> Sample:
        """Return that nothing was answered."""
        return Sample(Counts(), Counts(), 0)
