"""Instances as supervised processes of this host: no engine, no root."""

from deployer.drivers.runtime.process.runtime import ProcessRuntime

__all__ = ["ProcessRuntime"]
