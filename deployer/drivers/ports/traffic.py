"""What moves users between the colours of a service."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from deployer.core.clock import Deadline
from deployer.model import Live, Load, LostProxy, MeasuredTraffic, Place, Release, Server

if TYPE_CHECKING:
    from deployer.manifest.models import Manifest
    from deployer.model import Sample


class Samples(Protocol):
    """The requests of a service as they are answered."""

    def take(self) -> Sample:
        """Return what was answered since the last call; never waits."""
        ...


@dataclass(frozen=True)
class Drift:
    """Where a proxy and its files differ: what is so, and whether `repair` puts it right; else what does."""

    text: str
    repairable: bool = True
    remedy: str = ""


NOTHING: Mapping[str, Live] = MappingProxyType({})


def live_file(state: Path, service: str) -> Path:
    """Return the file of the live value of a service that has no proxy, in the state folder."""
    return state / "live" / service


class Traffic(Protocol):
    """Moves users between the colours of a service."""

    def configure(self, release: Release, place: Place | None, deadline: Deadline) -> None:
        """Make the proxy treat the service as the release's manifest says; nothing changes for other services.

        With a place: its backend (health checks, protocol, time-outs); a service that is new gets its entry
        (addresses, names, certificates, stickiness) too, with the traffic as `model.INITIAL`. Without a place: the
        entry, and what both colours share; a baseline ends. Raises Refused when the proxy refuses the configuration;
        the running one is then untouched.
        """
        ...

    def read(self, service: str) -> Live | None:
        """Read what the proxy does now, from every worker; None when it does not know the service."""
        ...

    def set_traffic(self, service: str, live: Live, deadline: Deadline, given: Live | None = None) -> None:
        """Write the value to file and to every worker, and read it back.

        Raises NoServerUp, changing nothing, when a place that is to get users has no server that is up. What
        was spent of the budget is kept as long as the rollout is the same. `given` is what the caller wrote before:
        raises TakenBack, changing nothing, when somebody has ended that share since. Raises LockLost, changing nothing,
        when the value that is there has a greater token.
        """
        ...

    def lost(self, service: str) -> tuple[LostProxy, ...]:
        """Return the proxies, of several, that do not have what the others have: a rollout goes on without them.

        None of them is asked.
        """
        ...

    def retry_lost(self, service: str, deadline: Deadline) -> None:
        """Bring lost proxies that respond again to where the others are, unless that was tried just now.

        It takes no more than half of the time: the others wait for it.
        """
        ...

    def introduce(self, service: str, place: Place, servers: Sequence[Server], deadline: Deadline) -> None:
        """Begin the proxy's own checks of servers that are new to it; they get no request before they are attached."""
        ...

    def attach(self, service: str, place: Place, servers: Sequence[Server], deadline: Deadline) -> None:
        """Make the place have these servers (others of it stay); wait until the proxy's own checks passed."""
        ...

    def drain(self, service: str, place: Place, names: Sequence[str], deadline: Deadline) -> int:
        """Send the servers no new requests, wait until none is running; return the number open at the deadline."""
        ...

    def hand_over(self, service: str, place: Place, part: float, deadline: Deadline) -> int:
        """Close this part of the WebSockets and tcp sessions that are open at the place, one at least if there is one.

        Their clients connect again to where users are sent now. Requests are left alone, however long they take.
        Return how many were closed: none when none was open.
        """
        ...

    def detach(self, service: str, place: Place, names: Sequence[str], deadline: Deadline) -> None:
        """Make the proxy forget the servers, cutting what is still open on them. Unknown names are no error.

        A baseline ends with its last server.
        """
        ...

    def servers(self, service: str, place: Place) -> tuple[tuple[Server, bool], ...]:
        """Read the servers of the place and whether the proxy finds each one up."""
        ...

    def preview(self, service: str) -> tuple[str, dict[str, str]]:
        """Return base URL and headers with which a request reaches the candidate before any user."""
        ...

    def spent(self, service: str) -> int:
        """Read how many failed responses of the candidate users have seen in the rollout of the live value.

        Counted by every worker, and kept over reloads and restarts of the proxy; 0 where there is no budget.
        """
        ...

    def samples(self, service: str) -> AbstractContextManager[Samples]:
        """Open the stream of requests of the service."""
        ...

    def forget(self, service: str, deadline: Deadline) -> None:
        """Remove the service from the proxy."""
        ...


class TrafficInspection(Protocol):
    """What is asked of a proxy beside a rollout: nothing is changed by it.

    Whether it can do what a manifest says, what passes through it, and whether it agrees with its files.
    """

    def check(self, manifest: Manifest, deadline: Deadline) -> None:
        """Raise Refused when `configure` could not do, now or at the promotion, what the manifest says.

        Nothing is changed by it.
        """
        ...

    def measured(self, service: str) -> MeasuredTraffic | None:
        """Return how many requests come; None when the proxy does not know the service, or counts since just now."""
        ...

    def load(self, service: str) -> Mapping[Place, Load]:
        """Return what is open at each place, at every worker, and what of it waits for an instance."""
        ...

    def reachable(self) -> tuple[TrafficLayer, Mapping[str, str]]:
        """Return the driver of those of several proxies that answer now, and why the others do not, by host.

        It is for looking: nothing is changed through it, as all change together or none does.
        """
        ...

    def services(self) -> tuple[str, ...]:
        """Name the services that the proxy's files know, sorted; nothing is asked or started."""
        ...

    def drift(self, service: str) -> tuple[Drift, ...]:
        """Compare the files with what they should be, and every worker with the files; nothing is changed."""
        ...


class TrafficUpkeep(Protocol):
    """What keeps a proxy right beside a rollout: it is repaired, brought up to date, and taken out for a while."""

    def repair(self, service: str, deadline: Deadline, lost: Mapping[str, Live] = NOTHING) -> None:
        """Make files and workers agree: the files are what holds, or what the proxy does where they are lost.

        `lost` are the live values, by service, that hold where both are.
        Raises DriverFailed, moving nobody, when users would be sent where no server is up.
        """
        ...

    def bring_back(self, service: str, deadline: Deadline) -> tuple[str, ...]:
        """Bring lost proxies that respond again to where the others are; return the names of those that are now."""
        ...

    def take_out(self, proxies: Collection[str], deadline: Deadline) -> int:
        """Have some of several proxies take no new connections of any service; wait until no request is open there.

        Return how many are open at the deadline. A proxy that starts takes connections again.
        """
        ...

    def put_back(self, proxies: Collection[str], deadline: Deadline) -> None:
        """Have proxies that were taken out take new connections again."""
        ...


class TrafficLayer(Traffic, Protocol):
    """A proxy with all that is asked of it: of a rollout, and beside it."""

    @property
    def inspection(self) -> TrafficInspection:
        """What only looks."""
        ...

    @property
    def upkeep(self) -> TrafficUpkeep:
        """What keeps it right."""
        ...
