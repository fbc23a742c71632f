"""From an instance's specification to what the engine is asked for, and back from a container's labels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from deployer.drivers.ports import Found
from deployer.drivers.runtime.environ import environment, split_address
from deployer.drivers.runtime.identity import labels, place_of
from deployer.model import Instance, InstanceSpec

if TYPE_CHECKING:
    from deployer.manifest.models import Limits, Manifest, Mount

PREFIX = "deployer."
SECRETS = "/run/secrets"


def create(spec: InstanceSpec, installation: str, home: str) -> dict[str, Any]:
    """Return the arguments of `containers.create`."""
    manifest = spec.release.manifest
    return {
        "image": spec.release.image_id,
        "command": list(manifest.command) if manifest.command else None,
        "entrypoint": list(manifest.entrypoint) if manifest.entrypoint else None,
        "name": spec.name,
        "labels": labels(spec, installation, home, PREFIX),
        **_port(spec),
        **contained(manifest, manifest.limits),
        # Brings instances back with the host or the engine, which `on-failure` does not; a crash loop shows in the
        # restart count and in the state "restarting".
        "restart_policy": {"Name": "unless-stopped"},
    }


def contained(manifest: Manifest, limits: Limits) -> dict[str, Any]:
    """Return the arguments of `containers.create` that are the same for all that runs of a release."""
    return {
        "mounts": [*map(_mount, manifest.mounts), *_secrets(manifest)],
        "nano_cpus": int(limits.cpus * 1e9) if limits.cpus else None,
        "mem_limit": limits.memory,
        "pids_limit": limits.pids,
        "user": manifest.user,
        "read_only": manifest.read_only,
        "security_opt": ["no-new-privileges:true"],
        "log_config": {"type": manifest.log.driver, "config": dict(manifest.log.options)},
        "stop_signal": manifest.stop.signal,
        # No `init`: the engine's own default holds, as images that bring their own init must be process 1.
    }


def _port(spec: InstanceSpec) -> dict[str, Any]:
    """Publish the port of the instance; one without a port has its name as its host's, by which `made` knows it."""
    port, env = spec.release.manifest.port, environment(spec, SECRETS)
    if port is None:
        return {"environment": env, "hostname": spec.name}
    # A fixed port of the host: the address stays the same however often the container restarts.
    return {"environment": {"PORT": str(port), **env}, "ports": {f"{port}/tcp": split_address(spec.address)}}


def _mount(mount: Mount) -> dict[str, Any]:
    kind = "bind" if mount.source.startswith("/") else "volume"
    return {"Type": kind, "Source": mount.source, "Target": mount.target, "ReadOnly": mount.read_only}


def _secrets(manifest: Manifest) -> list[dict[str, Any]]:
    """Return the place for secret files: an anonymous volume, filled before the start, removed with the container.

    Tried with Docker 26: a tmpfs cannot be filled before the start and is empty again after a restart; the container's
    own layer cannot be written when the root is read-only. The volume works with both, and for users other than root.
    """
    wanted = any(secret.deliver == "file" for secret in manifest.secrets.values())
    return [{"Type": "volume", "Source": None, "Target": SECRETS, "ReadOnly": False}] if wanted else []


def grace(seconds: float) -> int:
    """Return a time as the engine takes it: whole seconds, never less than asked for."""
    return math.ceil(seconds)


def observed(attributes: Mapping[str, Any]) -> Instance:
    """Read an instance from what `docker inspect` says about a container of ours."""
    found = {key.removeprefix(PREFIX): value for key, value in attributes["Config"]["Labels"].items()}
    state = attributes["State"]
    return Instance(
        service=found["service"],
        colour=place_of(found["colour"]),
        release=int(found["release"]),
        index=int(found["index"]),
        name=attributes["Name"].lstrip("/"),
        runtime_id=attributes["Id"],
        address=found["address"],
        state=_state(state),
        health=_health(state),
        exit_code=None if _state(state) in ("running", "paused") else state.get("ExitCode"),
        config_hash=found["config"],
        restarts=attributes.get("RestartCount", 0),
        rollout=int(found["rollout"]),
    )


def made(attributes: Mapping[str, Any]) -> bool:
    """Return whether a container is as `create` makes it. Raise KeyError or ValueError for unreadable labels.

    Labels alone prove nothing: an image that was made of an instance (`docker commit`) hands them on to every
    container of it. Name and published address, or host name, are the container's own.
    """
    instance = observed(attributes)
    if instance.name != f"{instance.service}-r{instance.release}-{instance.index}":
        return False
    bindings = (attributes["HostConfig"].get("PortBindings") or {}).values()
    if not bindings:
        return bool(attributes["Config"].get("Hostname") == instance.name)
    published = {(bound["HostIp"], bound["HostPort"]) for each in bindings for bound in each or ()}
    host, _, port = instance.address.rpartition(":")
    return (host.strip("[]"), port) in published


def found(attributes: Mapping[str, Any]) -> Found:
    """Read what a container of any store says of itself. Raises KeyError or ValueError for one that says too little."""
    labels = attributes["Config"]["Labels"]
    return Found(
        observed(attributes),
        labels[PREFIX + "installation"],
        labels.get(PREFIX + "home", ""),
        labels.get(PREFIX + "record", ""),
    )


def _state(state: Mapping[str, Any]) -> Literal["created", "running", "paused", "exited"]:
    """Translate the engine's state; one that waits for its next restart ("restarting") does not run."""
    match state["Status"]:
        case "created":
            return "created"
        case "running":
            return "running"
        case "paused":
            return "paused"
        case _:
            return "exited"


def _health(state: Mapping[str, Any]) -> Literal["none", "starting", "healthy", "unhealthy"]:
    match state.get("Health", {}).get("Status"):
        case "starting":
            return "starting"
        case "healthy":
            return "healthy"
        case "unhealthy":
            return "unhealthy"
        case _:
            return "none"
