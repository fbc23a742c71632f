"""The way to the engine of another host by ssh.

Docker's own ssh:// starts an ssh for every request and gives it no time-out. Here one tunnel serves all requests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployer.core.clock import Clock
from deployer.core.errors import Unreachable
from deployer.core.host import Host
from deployer.drivers.runtime.docker.bounds import bound
from deployer.drivers.runtime.docker.engine import SOCKET, knock
from deployer.transport.ssh_tunnel import SshTunnel

if TYPE_CHECKING:
    import docker


class SshEngine:
    """One host's engine, reached through ssh."""

    def __init__(self, host: Host, clock: Clock) -> None:
        self._tunnel = SshTunnel(host, SOCKET, clock)

    def connect(self, timeout: float, version: str | None) -> docker.DockerClient:
        """Return a client of the engine, as `engine.connect` does for that of this host.

        Raises Unreachable, with what ssh said, when there is no way to it.
        """
        import docker

        address = f"unix://{self._tunnel.socket()}"
        try:
            knock(address, timeout)
            client = docker.DockerClient(base_url=address, timeout=timeout, version=version)  # type: ignore[arg-type]
        except (OSError, docker.errors.DockerException) as error:
            if refused := self._tunnel.refused():
                raise Unreachable(refused) from error
            raise
        bound(client, timeout)
        return client

    def close(self) -> None:
        """Close the tunnel."""
        self._tunnel.close()
