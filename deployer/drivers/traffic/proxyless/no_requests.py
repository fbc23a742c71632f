"""The answers of a traffic layer to which no request comes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from deployer.core.clock import Deadline
from deployer.core.errors import DriverFailed
from deployer.drivers.ports import Samples
from deployer.drivers.traffic.alone import Alone, AloneUpkeep
from deployer.model import Counts, Load, MeasuredTraffic, Place, Sample, Server

if TYPE_CHECKING:
    from deployer.manifest.models import Manifest


class NoRequests(Alone, AloneUpkeep):
    """What the ports of a traffic layer ask about requests and connections: there are none."""

    def check(self, manifest: Manifest, deadline: Deadline) -> None:
        """Every manifest without a port will do."""

    def introduce(self, service: str, place: Place, servers: Sequence[Server], deadline: Deadline) -> None:
        """There is nothing that would check an instance."""

    def attach(self, service: str, place: Place, servers: Sequence[Server], deadline: Deadline) -> None:
        """There is nothing that would have to know an instance: it works as soon as it runs."""

    def drain(self, service: str, place: Place, names: Sequence[str], deadline: Deadline) -> int:
        """Return 0: no request is open."""
        return 0

    def hand_over(self, service: str, place: Place, part: float, deadline: Deadline) -> int:
        """Return 0: no connection is open."""
        return 0

    def detach(self, service: str, place: Place, names: Sequence[str], deadline: Deadline) -> None:
        """There is nothing that would have to forget an instance."""

    def spent(self, service: str) -> int:
        """Return 0: nobody saw a failed response."""
        return 0

    def load(self, service: str) -> Mapping[Place, Load]:
        """Return that nothing is open."""
        return {}

    def measured(self, service: str) -> MeasuredTraffic | None:
        """Return None: there are no requests to measure."""
        return None

    def preview(self, service: str) -> tuple[str, dict[str, str]]:
        """Raise DriverFailed: no request reaches a candidate."""
        raise DriverFailed(f"{service} has no port, so no request reaches its candidate", "add `port` to the manifest")

    @contextmanager
    def samples(self, service: str) -> Iterator[Samples]:
        """Open a stream in which nothing comes."""
        yield _Silence()


class _Silence:
    """No requests."""

    def take(self) -> Sample:
        """Return that nothing was answered."""
        return Sample(Counts(), Counts(), 0)
