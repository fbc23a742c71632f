"""Instances as containers of Docker engines; nothing here imports the SDK before an engine is asked for something."""

from typing import TYPE_CHECKING

from deployer.core import later

if TYPE_CHECKING:
    from deployer.drivers.runtime.docker.engine import Engine
    from deployer.drivers.runtime.docker.fleet import DockerFleet
    from deployer.drivers.runtime.docker.fleet_host import FleetHost
    from deployer.drivers.runtime.docker.runtime import DockerRuntime
    from deployer.drivers.runtime.docker.ssh_engine import SshEngine

__all__ = ["DockerFleet", "DockerRuntime", "Engine", "FleetHost", "SshEngine"]

__getattr__ = later.names(
    __name__,
    {
        "Engine": "deployer.drivers.runtime.docker.engine",
        "DockerFleet": "deployer.drivers.runtime.docker.fleet",
        "SshEngine": "deployer.drivers.runtime.docker.ssh_engine",
        "FleetHost": "deployer.drivers.runtime.docker.fleet_host",
        "DockerRuntime": "deployer.drivers.runtime.docker.runtime",
    },
)
