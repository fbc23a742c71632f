"""From an instance's specification to what Incus is asked for, and back from the configuration of an instance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from deployer.core.errors import DriverFailed
from deployer.drivers.ports import Found
from deployer.drivers.runtime.environ import chosen_secrets, environment, split_address
from deployer.drivers.runtime.identity import labels, place_of
from deployer.drivers.runtime.incus import virtual
from deployer.model import Instance, InstanceSpec

if TYPE_CHECKING:
    from deployer.manifest.models import Manifest

PREFIX = "user.deployer."  # of configuration keys that Incus keeps for others
SECRETS = "/etc/deployer/secrets"  # `/run` is a new file system when a system container starts
PORT = "deployer-port"  # the device by which the port of an instance is reached
RUNNING = ("Running", "Ready")  # an instance itself may say that it is ready
PERIOD_MS = 100  # in which a part of the processors' time is given
REACHED = "reached"  # the key of the address at which a virtual machine is, once that is known
NEVER = "1970-01-01T00:00:00Z"  # when an instance was used last that was never started


def create(spec: InstanceSpec, installation: str, home: str, kind: str) -> dict[str, Any]:
    """Return what makes the instance, by the profile `default` of the project; `kind` is that of its image."""
    manifest = spec.release.manifest
    variables = environment(spec, SECRETS)
    for name, value in chosen_secrets(spec, "env").items():
        if "\n" in value:
            raise DriverFailed(
                f"the secret {name} has a line break, which Incus takes in no variable", "`deliver: file` writes a file"
            )
    if manifest.port is not None:
        variables = {"PORT": str(manifest.port), **variables}
    if kind == virtual.KIND:
        config, devices = virtual.create(manifest, variables, SECRETS, chosen_secrets(spec, "file"))
    else:
        config, devices = _container(manifest, spec.address)
    for n, mount in enumerate(manifest.mounts):
        read_only = "true" if mount.read_only else "false"
        disk = {"type": "disk", "source": mount.source, "path": mount.target, "readonly": read_only}
        devices[f"deployer-mount-{n}"] = disk
    for n, network in enumerate(manifest.networks):
        devices[f"eth{n}"] = {"type": "nic", "name": f"eth{n}", "network": network}
    return {
        "name": spec.name,
        "type": kind,
        "source": {"type": "image", "fingerprint": spec.release.image_id},
        "config": {
            **labels(spec, installation, home, PREFIX),
            **{f"environment.{name}": value for name, value in variables.items()},
            **config,
            "boot.autostart": "true",
        },
        "devices": devices,
    }


def _container(manifest: Manifest, address: str) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """Return the configuration and the devices of a container: unprivileged, its port forwarded from an address."""
    config = {**_limits(manifest), **_signal(manifest), "security.privileged": "false"}
    if manifest.port is None:
        return config, {}
    host, port = split_address(address)
    listen = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    connect = f"tcp:127.0.0.1:{manifest.port}"
    return config, {PORT: {"type": "proxy", "bind": "host", "listen": f"tcp:{listen}", "connect": connect}}


def _limits(manifest: Manifest) -> dict[str, str]:
    limits, given = manifest.limits, {}
    if limits.cpus:
        given["limits.cpu.allowance"] = f"{max(1, round(limits.cpus * PERIOD_MS))}ms/{PERIOD_MS}ms"
    if limits.memory:
        given["limits.memory"] = str(limits.memory)
    if limits.pids:
        given["limits.processes"] = str(limits.pids)
    return given


def _signal(manifest: Manifest) -> dict[str, str]:
    """Return how an instance is told to stop: by what ends a system (SIGPWR), unless the manifest has another signal.

    SIGTERM, the default of the manifest, means that: it makes systemd start again (systemd(1), SIGNALS).
    """
    if manifest.stop.signal == "SIGTERM":
        return {}
    return {"raw.lxc": f"lxc.signal.halt = {manifest.stop.signal}"}


def observed(attributes: Mapping[str, Any]) -> Instance:
    """Read an instance from what Incus says about one of ours."""
    config = attributes["config"]
    kept = {key.removeprefix(PREFIX): value for key, value in config.items() if key.startswith(PREFIX)}
    return Instance(
        service=kept["service"],
        colour=place_of(kept["colour"]),
        release=int(kept["release"]),
        index=int(kept["index"]),
        name=attributes["name"],
        runtime_id=config["volatile.uuid"],
        address=kept.get(REACHED, kept["address"]),
        state=_state(attributes),
        config_hash=kept["config"],
        rollout=int(kept["rollout"]),
    )


def made(attributes: Mapping[str, Any]) -> bool:
    """Return whether an instance is as `create` makes it; a copy of one has its labels, and another name or address."""
    try:
        instance = observed(attributes)
        device = attributes["devices"].get(PORT)
        host, port = split_address(instance.address) if device else ("", 0)
    except (KeyError, ValueError, DriverFailed):
        return False
    if instance.name != f"{instance.service}-r{instance.release}-{instance.index}":
        return False
    return device is None or device["listen"] in {f"tcp:{host}:{port}", f"tcp:[{host}]:{port}"}


def found(attributes: Mapping[str, Any]) -> Found:
    """Read what an instance of any store says of itself."""
    config = attributes["config"]
    return Found(
        observed(attributes),
        config[PREFIX + "installation"],
        config.get(PREFIX + "home", ""),
        config.get(PREFIX + "record", ""),
    )


def begun(attributes: Mapping[str, Any]) -> bool:
    """Return whether an instance was ever started: until then it may lack its secrets."""
    return str(attributes["last_used_at"]) != NEVER


def _state(attributes: Mapping[str, Any]) -> Literal["created", "running", "paused", "exited"]:
    if attributes["status"] in RUNNING:
        return "running"
    if attributes["status"] == "Frozen":
        return "paused"
    return "exited" if begun(attributes) else "created"
