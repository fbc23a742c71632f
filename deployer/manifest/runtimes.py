"""What does not go with a runtime, elsewhere in the manifest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from deployer.manifest.base import Conflict
from deployer.manifest.described import Described
from deployer.manifest.sections import Limits, Log

OF_ENGINES = ("docker", "swarm")  # whose instances are containers, of images that engines have
OF_CONTAINERS = ("entrypoint", "mounts", "networks", "user", "read_only", "verify")


def conflicts(manifest: Described) -> Iterator[Conflict]:
    """Return what the runtime of a manifest needs and does not find, or cannot do."""
    match manifest.runtime:
        case "process":
            yield from _of_process(manifest)
        case "ansible":
            yield from _of_ansible(manifest)
        case "incus":
            yield from _of_incus(manifest)
        case "swarm":
            yield from _of_swarm(manifest)
    for section in ("swarm", "incus"):
        if getattr(manifest, section) is not None and manifest.runtime != section:
            why = f"runtime {manifest.runtime} has none"
            yield Conflict(section, why, f"runtime: {section}", ("runtime", section))
    if manifest.keep.paused and manifest.runtime != "ansible":
        why = f"runtime {manifest.runtime} keeps what is warm running"
        yield Conflict("keep.paused", why, "remove it", ("runtime", "keep.paused"))
    if manifest.verbs and manifest.runtime != "ansible":
        yield Conflict("verbs", f"runtime {manifest.runtime} has none", "runtime: ansible", ("runtime", "verbs"))


def _of_process(manifest: Described) -> Iterator[Conflict]:
    if not manifest.command:
        yield Conflict("command", "is missing; runtime process needs it", "e.g. [./server]", ("runtime", "command"))
    yield from _given(manifest)
    limited = [f"limits.{k}" for k in Limits.model_fields if getattr(manifest.limits, k) is not None]
    hosts = ["hosts"] * (manifest.hosts != "local")
    for n, mount in enumerate(manifest.mounts):
        at = f"mounts[{n}]"
        if not mount.source.startswith("/") or mount.source != mount.target:
            why = "a process sees the folders of its host where they are"
            yield Conflict(at, why, "write one path as source and target", ("runtime", at))
        elif mount.read_only:
            why = "runtime process cannot keep an instance from writing"
            yield Conflict(f"{at}.read_only", why, "remove it", ("runtime", at))
    yield from _unsupported(manifest, [key for key in OF_CONTAINERS if key != "mounts"], [*limited, *hosts])


def _of_ansible(manifest: Described) -> Iterator[Conflict]:
    if not manifest.verbs:
        yield Conflict("verbs", "is missing; runtime ansible needs it", "e.g. systemd", ("runtime", "verbs"))
    if manifest.verbs == "systemd" and not manifest.command:
        yield Conflict(
            "command", "is missing; lifecycle playbooks systemd need it", "e.g. [./server]", ("verbs", "command")
        )
    yield from _given(manifest)
    if manifest.health.command:
        why = "runtime ansible would play a playbook for each probe"
        yield Conflict("health.command", why, "check it by http or tcp", ("runtime", "health.command"))
    foreign = {"lxc": ("user", "limits"), "qemu": ("command", "user")}.get(manifest.verbs or "", ())
    pids = ["limits.pids"] * (manifest.verbs == "qemu" and manifest.limits.pids is not None)
    for key in [*(k for k in foreign if getattr(manifest, k) not in (None, Limits())), *pids]:
        yield Conflict(key, f"lifecycle playbooks {manifest.verbs} do not support it", "remove it", ("verbs", key))
    yield from _unsupported(manifest, [key for key in OF_CONTAINERS if key != "user"], [])


def _of_incus(manifest: Described) -> Iterator[Conflict]:
    for key in ("command", "entrypoint"):
        if getattr(manifest, key):
            why = "a system container starts what its image says, by its own init"
            yield Conflict(key, why, "make it a unit of the image", ("runtime", key))
    for n, mount in enumerate(manifest.mounts):
        if not mount.source.startswith("/"):
            why = "runtime incus mounts folders of the host, and makes no volumes"
            at = f"mounts[{n}].source"
            yield Conflict(at, why, "write its path, such as /srv/data", ("runtime", at))
    for index, metric in enumerate(manifest.judge.metrics):
        if metric.logs:
            at = f"judge.metrics[{index}].logs"
            yield Conflict(at, "the console of Incus says no times", "choose another source", ("runtime", at))
    for name, value in manifest.env.items():
        if "\n" in value:
            at = f"env.{name}"
            yield Conflict(at, "Incus takes no line breaks in variables", "put it into a file", ("runtime", at))
    hosts = ["hosts"] * (manifest.hosts != "local")
    yield from _unsupported(manifest, ("user", "read_only", "verify"), hosts)


def _of_swarm(manifest: Described) -> Iterator[Conflict]:
    if manifest.twin is not None:
        why = "the Swarm places instances of both colours"
        yield Conflict("twin", why, "remove it; see `swarm.constraints`", ("runtime", "twin"))
    if manifest.health.docker:
        why = "the Swarm itself waits for the HEALTHCHECK of an image, and keeps an instance out until then"
        yield Conflict("health.docker", why, "check it by http, tcp or command, too", ("runtime", "health.docker"))


def _given(manifest: Described) -> Iterator[Conflict]:
    for key in ("PORT", "HOST"):
        if key in manifest.env:
            taken = f"runtime {manifest.runtime} gives each instance its own"
            yield Conflict(f"env.{key}", taken, "remove it", ("runtime", f"env.{key}"))


def _unsupported(manifest: Described, keys: Iterable[str], more: Sequence[str]) -> Iterator[Conflict]:
    found = [*(key for key in keys if getattr(manifest, key)), *more]
    found += ["log"] * (manifest.log != Log()) + ["health.docker"] * manifest.health.docker
    for key in found:
        yield Conflict(key, f"runtime {manifest.runtime} does not support it", "remove it", ("runtime", key))
