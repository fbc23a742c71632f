"""Instances as containers of Docker engines; nothing here imports the SDK before an engine is asked for something."""

from deployer.drivers.runtime.docker.engine import Engine
from deployer.drivers.runtime.docker.fleet import Fleet
from deployer.drivers.runtime.docker.link import Link
from deployer.drivers.runtime.docker.member import Member
from deployer.drivers.runtime.docker.runtime import DockerRuntime

__all__ = ["DockerRuntime", "Engine", "Fleet", "Link", "Member"]
