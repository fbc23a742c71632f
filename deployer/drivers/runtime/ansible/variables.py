"""The variables with which a lifecycle playbook is run for an instance."""

from __future__ import annotations

from typing import Any

from deployer.drivers.runtime.environ import chosen_secrets, environment, split_address
from deployer.model import InstanceSpec, Release

SECRETS = "/run/deployer"  # in an instance, with its name behind it: where it finds secrets that are files


def known(release: Release, name: str, colour: str, index: int, address: str) -> dict[str, Any]:
    """Return what every verb is told: all of the instance but its secrets, whatever may be left of it."""
    host, port = split_address(address)
    manifest = release.manifest
    return {
        "deployer_name": name,
        "deployer_service": release.service,
        "deployer_release": release.number,
        "deployer_version": release.version,
        "deployer_colour": colour,
        "deployer_index": index,
        "deployer_address": address,
        "deployer_host": host,
        "deployer_port": port,
        "deployer_service_port": manifest.port or 0,
        "deployer_image": release.image,
        "deployer_image_id": release.image_id,
        "deployer_command": list(manifest.command or ()),
        "deployer_user": manifest.user or "",
        "deployer_limits": manifest.limits.model_dump(mode="json", exclude_none=True),
        "deployer_stop_signal": manifest.stop.signal,
        "deployer_grace": manifest.stop.grace,
        "deployer_secrets_folder": f"{SECRETS}/{name}",
        "deployer_secret_names": [n for n, s in manifest.secrets.items() if s.deliver == "file"],
    }


def wanted(spec: InstanceSpec) -> dict[str, Any]:
    """Return all that the playbooks get which make an instance. Raise DriverFailed for a secret without a value."""
    return {**known(spec.release, spec.name, spec.colour, spec.index, spec.address), **delivered(spec)}


def delivered(spec: InstanceSpec) -> dict[str, Any]:
    """Return what an instance is to find: its environment, with secrets, and the secrets that are files.

    Raises DriverFailed for a secret without a value.
    """
    host, port = split_address(spec.address)
    env = environment(spec, f"{SECRETS}/{spec.name}")
    return {
        "deployer_env": {**env, "PORT": str(port), "HOST": host},
        "deployer_secrets": chosen_secrets(spec, "file"),
    }
