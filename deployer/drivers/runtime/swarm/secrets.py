"""Secrets that are delivered as files: secrets of the Swarm, made for one instance and removed with it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from deployer.drivers.runtime.docker.options import PREFIX

if TYPE_CHECKING:
    import docker

INSTANCE, INSTALLATION = f"{PREFIX}instance", f"{PREFIX}installation"
READABLE = 0o444  # as we do not know the id of the user of the container


def make(
    client: docker.DockerClient, installation: str, instance: str, values: Mapping[str, str]
) -> tuple[dict[str, Any], ...]:
    """Make the secrets of an instance; return how its service refers to them."""
    made = []
    for name, value in values.items():
        called = f"deployer-{secrets.token_hex(16)}"  # one that is taken cannot be made anew
        own = {INSTALLATION: installation, INSTANCE: instance, f"{PREFIX}secret": name}
        identity = client.api.create_secret(called, value.encode(), labels=own)["ID"]
        file = {"Name": name, "UID": "0", "GID": "0", "Mode": READABLE}
        made.append({"SecretID": identity, "SecretName": called, "File": file})
    return tuple(made)


def of(client: docker.DockerClient, installation: str, instance: str = "") -> list[Mapping[str, Any]]:
    """Read our secrets, or those of one instance."""
    wanted = [f"{INSTALLATION}={installation}", *([f"{INSTANCE}={instance}"] if instance else [])]
    return list(client.api.secrets(filters={"label": wanted}))


def remove(client: docker.DockerClient, found: Sequence[Mapping[str, Any]]) -> None:
    """Remove secrets; one that is gone is no error."""
    import docker.errors

    for each in found:
        try:
            client.api.remove_secret(each["ID"])
        except docker.errors.NotFound:
            continue


def name_of(secret: Mapping[str, Any]) -> str:
    """Return the name of a secret in the Swarm."""
    return str(secret["Spec"]["Name"])


def instance_of(secret: Mapping[str, Any]) -> str:
    """Return the instance that a secret was made for."""
    return str((secret["Spec"].get("Labels") or {}).get(INSTANCE, ""))
