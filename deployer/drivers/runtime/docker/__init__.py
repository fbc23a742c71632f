"""Instances as containers of a Docker engine; nothing here imports the SDK before an engine is asked for something."""

from deployer.drivers.runtime.docker.runtime import DockerRuntime

__all__ = ["DockerRuntime"]
