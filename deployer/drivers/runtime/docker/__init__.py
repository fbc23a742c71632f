"""Instances as containers of Docker engines; nothing here imports the SDK before an engine is asked for something."""

from typing import TYPE_CHECKING

from deployer import later

if TYPE_CHECKING:
    from deployer.drivers.runtime.docker.engine import Engine
    from deployer.drivers.runtime.docker.fleet import Fleet
    from deployer.drivers.runtime.docker.link import Link
    from deployer.drivers.runtime.docker.member import Member
    from deployer.drivers.runtime.docker.runtime import DockerRuntime

__all__ = ["DockerRuntime", "Engine", "Fleet", "Link", "Member"]

__getattr__ = later.names(
    __name__,
    {
        "Engine": "deployer.drivers.runtime.docker.engine",
        "Fleet": "deployer.drivers.runtime.docker.fleet",
        "Link": "deployer.drivers.runtime.docker.link",
        "Member": "deployer.drivers.runtime.docker.member",
        "DockerRuntime": "deployer.drivers.runtime.docker.runtime",
    },
)
