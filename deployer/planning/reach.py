"""What of a service only its control host reaches: where several share a store, the others cannot go on with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deployer.manifest.models import Manifest


def only_from_one(manifest: Manifest) -> str:
    """Return why a service is reached from one control host alone; "" for one that every control host reaches."""
    if manifest.runtime not in ("docker", "swarm"):
        return f"runtime {manifest.runtime} keeps what it made in the state folder"
    if manifest.hosts == "local" and manifest.runtime == "swarm":
        return "its Swarm is the one of DOCKER_HOST on that host (`hosts: local`)"
    if manifest.hosts == "local":
        return "its instances run on that host (`hosts: local`)"
    if manifest.port is None:
        return "which colour of a service without a port is live is in the state folder"
    if manifest.traffic.proxies.local:
        return "its proxy runs on that host (`traffic.proxies: local`)"
    if manifest.traffic.tls is not None and manifest.traffic.tls.auto is not None:
        return "its certificates are in the state folder (`tls: auto`)"
    return ""
