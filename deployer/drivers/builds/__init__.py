"""Images that are built: by the docker command, with BuildKit where the engine has it."""

from deployer.drivers.builds.docker_build import DockerBuilder

__all__ = ["DockerBuilder"]
