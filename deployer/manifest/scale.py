"""The section `scale` of the manifest: the number of instances follows the load."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from deployer.core.limits import MOST_REPLICAS
from deployer.manifest.base import Conflict, Count, Model
from deployer.manifest.units import Seconds, Wait

MOST_AT_ONCE = 10_000  # requests on an instance
MOST_SLEEPERS = 50  # paths and user agents that wake nobody
# They become words of the proxy's configuration, in quotes
Asleep = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9 ._/:;@+~()-]{2,100}$")]


class WakeSettings(Model):
    """What wakes a service that sleeps: each request, but for those named in `not`."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    ignored: tuple[Asleep, ...] = Field(
        (),
        alias="not",
        max_length=MOST_SLEEPERS,
        description="Requests that do not wake the service, and do not keep it awake: a path and all below it"
        " (`/healthz`), or a part of a user agent (`UptimeRobot`). While it sleeps they get a 503.",
    )


class ScaleSettings(Model):
    """Has as many instances as the load needs: `min` to `max` of them on all hosts together."""

    min: Count = Field(
        1,
        ge=0,
        le=MOST_REPLICAS,
        description="Fewest instances, on all hosts together; with 0 the service sleeps while nobody comes.",
    )
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
    idle: Seconds = Field(
        600.0, ge=1, le=30 * 86_400, description="With `min: 0`: how long nobody must have come before it sleeps."
    )
    sleep: Literal["stop", "pause"] = Field(
        "stop",
        description="With `min: 0`: what becomes of the instance. `stop` gives its memory back, and a wake takes as"
        " long as a start; with `pause` it keeps its memory, gets no processor time, and wakes within milliseconds.",
    )
    wake: WakeSettings = Field(WakeSettings(), description="With `min: 0`: what does not wake it.")

    def conflicts(self) -> Iterator[Conflict]:
        """Give the keys that do not go together."""
        if self.min > self.max:
            yield Conflict("min", f"{self.min} is more than `max`, {self.max}", "min of at most max", ("min", "max"))
        if self.sleep == "pause" and self.min:
            yield Conflict("sleep", f"with `min: {self.min}` it never sleeps", "remove it, or min: 0", ("sleep", "min"))

    @property
    def sleeps(self) -> bool:
        """Whether the service sleeps while nobody comes."""
        return self.min == 0

    def within(self, instances: int) -> int:
        """Return the number of instances that is possible while it is awake, nearest to the given one."""
        return max(self.min, 1, min(instances, self.max))
