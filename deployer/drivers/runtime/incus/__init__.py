"""Instances as system containers and virtual machines of Incus on this host.

Nothing here imports what commands inside need, before one.
"""

from deployer.drivers.runtime.incus.runtime import IncusRuntime

__all__ = ["IncusRuntime"]
