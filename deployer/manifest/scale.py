"""The section `scale` of the manifest: the number of instances follows the load."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Protocol

from pydantic import ConfigDict, Field, StringConstraints

from deployer.core.limits import MOST_REPLICAS
from deployer.manifest.base import Conflict, Count, Model
from deployer.manifest.units import Seconds, Wait

if TYPE_CHECKING:
    from deployer.manifest.sections import Health, StopSettings
    from deployer.manifest.traffic import TrafficSettings

MOST_AT_ONCE = 10_000  # requests on an instance
WAKING = ("docker", "process")  # runtimes whose instances a request can start
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
    wake: WakeSettings = Field(WakeSettings(), description="With `min: 0`: what does not wake it.")

    def conflicts(self) -> Iterator[Conflict]:
        """Give the keys that do not go together."""
        if self.min > self.max:
            yield Conflict("min", f"{self.min} is more than `max`, {self.max}", "min of at most max", ("min", "max"))

    @property
    def sleeps(self) -> bool:
        """Whether the service sleeps while nobody comes."""
        return self.min == 0

    def within(self, instances: int) -> int:
        """Return the number of instances that is possible while it is awake, nearest to the given one."""
        return max(self.min, 1, min(instances, self.max))


class Scaled(Protocol):
    """What of a manifest goes, or does not go, with `scale`."""

    @property
    def scale(self) -> ScaleSettings | None: ...  # noqa: D102 - as the manifest has it
    @property
    def port(self) -> int | None: ...  # noqa: D102 - as the manifest has it
    @property
    def replicas(self) -> int: ...  # noqa: D102 - as the manifest has it
    @property
    def single(self) -> bool: ...  # noqa: D102 - as the manifest has it
    @property
    def hosts(self) -> str: ...  # noqa: D102 - as the manifest has it
    @property
    def runtime(self) -> str: ...  # noqa: D102 - as the manifest has it
    @property
    def strategy_name(self) -> str: ...  # noqa: D102 - as the manifest has it
    @property
    def traffic(self) -> TrafficSettings: ...  # noqa: D102 - as the manifest has it
    @property
    def health(self) -> Health: ...  # noqa: D102 - as the manifest has it
    @property
    def stop(self) -> StopSettings: ...  # noqa: D102 - as the manifest has it


def conflicts(manifest: Scaled) -> Iterator[Conflict]:
    """Return what does not go with `scale`, elsewhere in the manifest."""
    if manifest.scale is None:
        return
    if manifest.port is None:
        yield Conflict("scale", "a service without a `port` gets no requests", "remove it", ("scale", "port"))
    if manifest.single:
        yield Conflict(
            "scale", "a service that is `single` has one instance", "remove one of them", ("scale", "single")
        )
    if manifest.replicas != 1:
        why = "`scale` says how many instances there are"
        remedy = f"remove it, and write `scale.min: {manifest.replicas}` for the fewest"
        yield Conflict("replicas", why, remedy, ("scale", "replicas"))
    if manifest.scale.sleeps:
        yield from _asleep(manifest, manifest.scale)


def _asleep(manifest: Scaled, scale: ScaleSettings) -> Iterator[Conflict]:
    """Return what a service that sleeps while nobody comes cannot have yet.

    The process that wakes it is one of this host, and starts what stood here.
    """
    traffic, health = manifest.traffic, manifest.health
    checked, before = health.kind in ("http", "tcp"), manifest.strategy_name == "recreate"
    ignores = traffic.mode == "tcp" and bool(scale.wake.ignored)
    if manifest.stop.grace >= scale.wait:
        waits = f"who comes while it is stopped waits for up to {manifest.stop.grace:g} s, and may for {scale.wait:g} s"
        needs = ("stop.grace", "scale.wait", "scale.min")
        yield Conflict("stop.grace", f"with `scale.min: 0`: {waits}", "less than `scale.wait`", needs)
    for key, found, why, remedy in (
        ("hosts", manifest.hosts != "local", "it sleeps on the host of the command only", "hosts: local"),
        ("runtime", manifest.runtime not in WAKING, f"runtime {manifest.runtime} wakes nobody", "docker or process"),
        ("traffic.proxies", not traffic.proxies.local, "only the proxy of this host wakes it", "remove it"),
        ("traffic.haproxy", traffic.haproxy is not None, "a HAProxy that a team runs does not wake it", "remove it"),
        ("traffic.affinity", traffic.affinity == "instance", "a client cannot keep what is stopped", "remove it"),
        ("traffic.protocol", traffic.protocol == "h2", "it is woken by HTTP/1.1 or tcp", "remove it"),
        ("health", not checked, "what wakes it asks by http or tcp", "health.http or health.tcp"),
        ("strategy", before, "recreate stops first what a request may start", "strategy: bluegreen"),
        ("scale.wake", ignores, "connections of a tcp service have neither path nor user agent", "remove it"),
    ):
        if found:
            yield Conflict(key, f"with `scale.min: 0`: {why}", remedy, (key, "scale.min"))
