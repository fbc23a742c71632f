"""Instances as system containers of Incus on this host; nothing here imports what commands inside need, before one."""

from deployer.drivers.runtime.incus.runtime import IncusRuntime

__all__ = ["IncusRuntime"]
