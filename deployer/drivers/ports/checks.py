"""What a candidate is asked, and what other sources know about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from deployer.core.clock import Deadline
from deployer.model import Colour, Instance, SecretText

if TYPE_CHECKING:
    from deployer.manifest.models import Manifest, Metric


class Checks(Protocol):
    """Asks instances and the candidate how they are."""

    def probe(self, manifest: Manifest, instance: Instance, deadline: Deadline) -> str:
        """Probe once; return "" for a pass, else what was seen ("HTTP 503, expected 200-399")."""
        ...

    def smoke(self, manifest: Manifest, base: str, headers: dict[str, str], deadline: Deadline) -> str:
        """Run all smoke tests against the preview route; return "" for a pass, else what failed."""
        ...


@dataclass(frozen=True)
class MetricSide:
    """Whom a metric is asked about: stable or candidate, with what tells its instances from the others."""

    side: Literal["stable", "candidate"]
    service: str
    colour: Colour
    release: int
    version: str

    def words(self) -> dict[str, str]:
        """Return what stands for the words in braces of a metric."""
        return {name: str(value) for name, value in asdict(self).items()}


class MetricSources(Protocol):
    """Asks sources of numbers that are not ours."""

    def read(
        self, metric: Metric, side: MetricSide, secrets: Mapping[str, SecretText], deadline: Deadline
    ) -> float | None:
        """Return the metric's value for a side now, a finite number; None when the source has no data on it.

        Raises DriverFailed, naming the source, when it does not respond or answers something else than one number.
        """
        ...
