"""The section `scale` of the manifest: the number of instances follows the load."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema

from deployer.core import cron
from deployer.core.clock import stamp
from deployer.core.limits import MOST_REPLICAS
from deployer.manifest.base import Conflict, Count, Model, Switch
from deployer.manifest.schedule import Cron, Timezone
from deployer.manifest.text import Misspelt, Spelt
from deployer.manifest.units import Seconds, Wait

MOST_AT_ONCE = 10_000  # requests on an instance
FIRST_AT_ONCE = 16  # the same while nothing is learned
AUTO: Literal["auto"] = "auto"
MOST_SLEEPERS = 50  # paths and user agents that wake nobody
# They become words of the proxy's configuration, in quotes
Asleep = Annotated[
    str,
    Spelt(
        "text",
        r"[A-Za-z0-9 ._/:;@+~()-]{2,100}",
        "a path, or a part of a user agent: 2 to 100 letters, digits, spaces and ._/:;@+~()-",
        "/healthz or UptimeRobot",
    ),
]


def _at_once(value: Any) -> int | Literal["auto"]:
    """Read how many requests an instance gets at once: a whole number, or `auto`."""
    if value == AUTO:
        return AUTO
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_AT_ONCE:
        return int(value)
    raise Misspelt(f"a whole number from 1 to {MOST_AT_ONCE}, or `auto`", "12 or auto", value)


AtOnce = Annotated[
    int | Literal["auto"],
    BeforeValidator(_at_once),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1, "maximum": MOST_AT_ONCE}, {"const": AUTO}]}),
]


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


class AwakeHours(Model):
    """Times in which the service does not sleep: from each `from` to the next `to`; the keeper wakes it for them."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    begins: Cron = Field(alias="from", description="When they begin: minute, hour, day of the month, month, weekday.")
    ends: Cron = Field(alias="to", description="When they end.")
    timezone: Timezone = Field("UTC", description="Timezone of both.")

    def conflicts(self) -> Iterator[Conflict]:
        """Yield the keys that do not go together."""
        if self.begins == self.ends:
            yield Conflict("to", "they end when they begin", "a later time, e.g. 0 18 * * mon-fri", ("from", "to"))

    def change(self, now: float) -> tuple[bool, float]:
        """Return whether a moment is within them, and when that changes.

        Raise Refused for a timezone that this host does not have any more.
        """
        begin, end = (cron.next_time(each, self.timezone, now) for each in (self.begins, self.ends))
        return end <= begin, min(begin, end)

    def explain(self, now: float) -> str:
        """Return what that means now, and until when."""
        within, at = self.change(now)
        if within:
            return f"it does not sleep before {stamp(at)} (`scale.hours`)"
        return f"it sleeps while nobody comes until {stamp(at)}, and is awake from then on (`scale.hours`)"


class ScaleSettings(Model):
    """Has as many instances as the load needs: `min` to `max` of them on all hosts together."""

    min: Count = Field(
        1,
        ge=0,
        le=MOST_REPLICAS,
        description="Fewest instances, on all hosts together; with 0 the service sleeps while nobody comes.",
    )
    max: Count = Field(ge=1, le=MOST_REPLICAS, description="Most instances, on all hosts together.")
    concurrency: AtOnce = Field(
        description="Requests that an instance answers well at once, 1 to 10000. The proxy gives it no more; others"
        f" wait. With `auto` the keeper learns the number, and it is {FIRST_AT_ONCE} until then."
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
    predict: Switch = Field(
        True,
        description="Have the instances that the usual load of this weekday and hour needs before it comes; it is known"
        " from the last four weeks.",
    )
    timezone: Timezone | None = Field(
        None, description="Timezone of these weekdays and hours; by default that of `hours`, or UTC."
    )
    hours: AwakeHours | None = Field(None, description="With `min: 0`: times in which it does not sleep.")
    wake: WakeSettings = Field(WakeSettings(), description="With `min: 0`: what does not wake it.")

    def conflicts(self) -> Iterator[Conflict]:
        """Yield the keys that do not go together."""
        if self.min > self.max:
            yield Conflict("min", f"{self.min} is more than `max`, {self.max}", "min of at most max", ("min", "max"))
        if self.sleep == "pause" and self.min:
            yield Conflict("sleep", f"with `min: {self.min}` it never sleeps", "remove it, or min: 0", ("sleep", "min"))
        if self.hours and self.min:
            yield Conflict("hours", f"with `min: {self.min}` it never sleeps", "remove it, or min: 0", ("hours", "min"))

        if self.timezone and not self.predict:
            yield Conflict("timezone", "it says nothing without `predict`", "remove it", ("timezone", "predict"))

    @property
    def clock(self) -> str:
        """The timezone of the weekdays and hours whose load is usual."""
        return self.timezone or (self.hours.timezone if self.hours else "UTC")

    @property
    def learns(self) -> bool:
        """Whether the number of requests that an instance gets at once is learned."""
        return self.concurrency == AUTO

    @property
    def each(self) -> int:
        """Requests that an instance gets at once; where that is learned, what it begins with."""
        return self.concurrency if isinstance(self.concurrency, int) else FIRST_AT_ONCE

    def knowing(self, learned: int) -> ScaleSettings:
        """Return them with what was learned (0: nothing yet) in the place of `auto`."""
        return self.model_copy(update={"concurrency": learned}) if self.learns and learned else self

    @property
    def sleeps(self) -> bool:
        """Whether the service sleeps while nobody comes."""
        return self.min == 0

    def awake_until(self, now: float) -> float:
        """Return until when it is to be awake whoever comes, by its `hours`; 0 for a moment at which it may sleep."""
        within, end = self.hours.change(now) if self.hours else (False, 0.0)
        return end if within else 0.0

    def within(self, instances: int) -> int:
        """Return the number of instances that is possible while it is awake, nearest to the given one."""
        return max(self.min, 1, min(instances, self.max))
