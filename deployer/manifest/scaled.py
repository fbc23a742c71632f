"""What does not go with `scale`, elsewhere in the manifest."""

from __future__ import annotations

from collections.abc import Iterator

from deployer.manifest.base import Conflict
from deployer.manifest.described import Described
from deployer.manifest.scale import ScaleSettings

WAKING = ("docker", "process")  # runtimes whose instances a request can start


def conflicts(manifest: Described) -> Iterator[Conflict]:
    """Return the keys with which the number of instances cannot follow the load."""
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
    if manifest.scale.learns:
        yield from _learned(manifest)
    if manifest.scale.sleeps:
        yield from _asleep(manifest, manifest.scale)


def _learned(manifest: Described) -> Iterator[Conflict]:
    """Return the keys with which nothing can be learned of how many requests at once an instance answers well."""
    if manifest.traffic.mode == "tcp":
        why, needs = "how long a tcp session lasts is up to its client", ("traffic.mode", "scale.concurrency")
        yield Conflict("scale.concurrency", f"cannot be learned: {why}", "a number, e.g. 12", needs)


def _asleep(manifest: Described, scale: ScaleSettings) -> Iterator[Conflict]:
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
        ("health", not checked, "what wakes it asks by http or tcp", "health.http or health.tcp"),
        ("strategy", before, "recreate stops first what a request may start", "strategy: bluegreen"),
        ("scale.wake", ignores, "connections of a tcp service have neither path nor user agent", "remove it"),
    ):
        if found:
            yield Conflict(key, f"with `scale.min: 0`: {why}", remedy, (key, "scale.min"))
