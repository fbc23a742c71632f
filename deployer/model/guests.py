"""The terms under which a tenant's instances run on hosts that are lent, as they were when a release was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self

Isolation = Literal["container", "gvisor"]
Network = Literal["none", "out"]


@dataclass(frozen=True)
class GuestTerms:
    """What a tenant may use on each of its hosts, all of its services together; sizes are bytes.

    `disk` is that of an instance, 0 for none but memory. `lent_cpus` and `lent_memory` are what all tenants of a host
    have together (0 processors: as many as it has); `reserve` is memory of the host that guests leave free. `evict` are
    the seconds in which an instance ends that has to go. `dns` are the servers that names are asked of where the
    network is `out`. `file` is the `tenants.yml`.
    """

    tenant: str
    cpus: float
    memory: int
    pids: int
    lent_memory: int
    lent_cpus: float = 0.0
    reserve: int = 0
    disk: int = 0
    isolation: Isolation = "container"
    network: Network = "none"
    evict: float = 10.0
    dns: tuple[str, ...] = ()
    file: str = ""

    def record(self) -> dict[str, Any]:
        """Return plain data that `read` reads."""
        return asdict(self)

    def of_instances(self) -> dict[str, Any]:
        """Return what an instance is made with; the rest is seen to beside it."""
        return {
            k: v for k, v in asdict(self).items() if k not in ("lent_cpus", "lent_memory", "reserve", "evict", "file")
        }

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Self:
        """Read what `record` gave. Raises ValueError, TypeError or KeyError for anything else."""
        known = {f.name for f in fields(cls)}  # a later version may have said more of it
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in record.items() if k in known}
        return cls(**values)
