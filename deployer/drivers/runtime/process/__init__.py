"""Instances as supervised processes of this machine: no engine, no root."""

from deployer.drivers.runtime.process.runtime import ProcessRuntime

__all__ = ["ProcessRuntime"]
