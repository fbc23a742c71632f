"""What a host does for the services of tenants beside those of its owner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from deployer.core.clock import Deadline
from deployer.model import GuestTerms, Instance


@dataclass(frozen=True)
class HostWatch:
    """What a host itself does with guests while its owner waits for processors or memory.

    `unwatched` says why nothing there looks, "" where something does; `frozen` and `stopped` since when and why it has
    frozen all guests, and stopped those of the tenant; "" where it has not.
    """

    unwatched: str = ""
    frozen: str = ""
    stopped: str = ""


@dataclass(frozen=True)
class GuestUse:
    """What a tenant uses on a host: seconds of processors since its group was made, bytes of memory, processes."""

    cpu: float
    memory: int
    processes: int
    watch: HostWatch = HostWatch()


class Guests(Protocol):
    """Keeps the instances of tenants apart on the hosts of a service, each named; "" is this host."""

    def require(self, terms: GuestTerms) -> None:
        """Raise Refused where the engine of a host lacks what the terms of a tenant ask for. Changes nothing."""
        ...

    def check(self, terms: GuestTerms) -> None:
        """Raise Refused where a host on which a release is to stand cannot keep a tenant to its terms."""
        ...

    def freeze(self, instances: Sequence[Instance], deadline: Deadline) -> None:
        """Take processors away from instances at once; they keep their memory. One that is gone is no error."""
        ...

    def room(self) -> Mapping[str, int]:
        """Return how many bytes of memory each host of a release can still give; one that is silent is left out."""
        ...

    def use(self, terms: GuestTerms) -> Mapping[str, GuestUse]:
        """Return what a tenant uses on each host that has something of it; one that is silent is left out."""
        ...
