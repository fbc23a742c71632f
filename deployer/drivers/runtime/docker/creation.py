"""Making a container with its networks and its secrets: all of it, or nothing is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from deployer.core.undo import undone
from deployer.drivers.runtime.docker import options, secrets

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container


def create(
    client: docker.DockerClient,
    arguments: Mapping[str, Any],
    networks: Sequence[str],
    files: Mapping[str, str],
    alias: str = "",
) -> Container:
    """Create a container that is in these networks, there called `alias` too, and has these files of secrets."""
    container = client.containers.create(**arguments)
    with undone(lambda: container.remove(force=True, v=True)):
        for network in networks:
            client.networks.get(network).connect(container, aliases=[alias] if alias else None)
        if files:
            container.put_archive(options.SECRETS, secrets.archive(files))
    return container
