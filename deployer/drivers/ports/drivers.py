"""The drivers of one service, together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from deployer.drivers.jobs import JobRuntime
    from deployer.drivers.ports.certificates import ShownCertificates
    from deployer.drivers.ports.checks import Checks, MetricSources
    from deployer.drivers.ports.guests import Guests
    from deployer.drivers.ports.images import Builder, Signatures
    from deployer.drivers.ports.moving import Mover
    from deployer.drivers.ports.pausing import Pauser
    from deployer.drivers.ports.playbooks import Playbooks
    from deployer.drivers.ports.runtime import Runtime, RuntimeCare
    from deployer.drivers.ports.sleeping import Sleeper
    from deployer.drivers.ports.traffic import Traffic, TrafficInspection, TrafficUpkeep


class EngineDrivers(Protocol):
    """The drivers of one service, as far as a rollout needs them."""

    @property
    def runtime(self) -> Runtime:
        """Where its instances run."""
        ...

    @property
    def traffic(self) -> Traffic:
        """Where its users are sent."""
        ...

    @property
    def inspection(self) -> TrafficInspection:
        """What is asked of the proxy beside that."""
        ...

    @property
    def checks(self) -> Checks:
        """How its instances are asked how they are."""
        ...

    @property
    def playbooks(self) -> Playbooks:
        """What is done beside it."""
        ...

    @property
    def metrics(self) -> MetricSources:
        """Whose numbers are compared, too."""
        ...

    @property
    def jobs(self) -> JobRuntime:
        """Where a command runs in an instance of its own."""
        ...

    @property
    def sleeper(self) -> Sleeper | None:
        """What stops it while nobody comes; None for one that never sleeps."""
        ...

    @property
    def guests(self) -> Guests | None:
        """What keeps it apart on hosts that are lent; None for a service of their owner."""
        ...

    @property
    def pauser(self) -> Pauser | None:
        """What pauses instances that are kept warm; None where they run on."""
        ...

    @property
    def mover(self) -> Mover | None:
        """What starts stranded instances elsewhere; None where none ever is."""
        ...


@dataclass(frozen=True)
class Drivers:
    """The drivers of one service."""

    runtime: RuntimeCare
    traffic: Traffic
    inspection: TrafficInspection  # of the traffic layer: what only looks
    upkeep: TrafficUpkeep  # of the traffic layer: what keeps it right
    checks: Checks
    playbooks: Playbooks
    metrics: MetricSources
    signatures: Signatures
    builder: Builder
    jobs: JobRuntime
    certificates: ShownCertificates | None = None  # of the proxies; None where there are none
    sleeper: Sleeper | None = None  # of a service that sleeps while nobody comes
    guests: Guests | None = None  # of a service of a tenant
    pauser: Pauser | None = None  # of a runtime that can pause instances
    mover: Mover | None = None  # of a runtime whose engine moves instances, and may take its time
