"""The section `scale` of the manifest: the number of instances follows the load."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from deployer.core.limits import MOST_REPLICAS
from deployer.manifest.base import Conflict, Count, Model
from deployer.manifest.units import Seconds, Wait

MOST_AT_ONCE = 10_000  # requests on an instance


class ScaleSettings(Model):
    """Has as many instances as the load needs: `min` to `max` of them on all hosts together."""

    min: Count = Field(1, ge=0, le=MOST_REPLICAS, description="Fewest instances, on all hosts together; 1 or more.")
    max: Count = Field(ge=1, le=MOST_REPLICAS, description="Most instances, on all hosts together.")
    concurrency: Count = Field(
        ge=1,
        le=MOST_AT_ONCE,
        description="Requests that an instance answers well at once. The proxy gives it no more; others wait.",
    )
    hold: Seconds = Field(
        60.0, ge=1, le=86_400, description="How long fewer instances must have been enough before one is removed."
    )
    wait: Wait = Field(30.0, gt=0, description="How long a request may wait for an instance; then it gets a 503.")

    def conflicts(self) -> Iterator[Conflict]:
        """Give the keys that do not go together."""
        if self.min < 1:
            why = "a service that sleeps while nobody comes is not possible yet"
            yield Conflict("min", why, "1 or more", ("min",))
        elif self.min > self.max:
            yield Conflict("min", f"{self.min} is more than `max`, {self.max}", "min of at most max", ("min", "max"))

    def within(self, instances: int) -> int:
        """Return the number of instances that is possible, nearest to the given one."""
        return max(self.min, min(instances, self.max))


def conflicts(scale: ScaleSettings | None, port: int | None, replicas: int, *, single: bool) -> Iterator[Conflict]:
    """Return what does not go with `scale`, elsewhere in the manifest."""
    if scale is None:
        return
    if port is None:
        yield Conflict("scale", "a service without a `port` gets no requests", "remove it", ("scale", "port"))
    if single:
        yield Conflict(
            "scale", "a service that is `single` has one instance", "remove one of them", ("scale", "single")
        )
    if replicas != 1:
        why = "`scale` says how many instances there are"
        remedy = f"remove it, and write `scale.min: {replicas}` for the fewest"
        yield Conflict("replicas", why, remedy, ("scale", "replicas"))
