"""Instances as services of a Docker Swarm, one each; nothing here imports the SDK before a manager is asked."""

from deployer.drivers.runtime.swarm.runtime import SwarmRuntime

__all__ = ["SwarmRuntime"]
