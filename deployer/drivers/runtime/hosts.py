"""The hosts of a service, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from deployer.core.errors import DriverFailed

T = TypeVar("T")


def host_of(hosts: Mapping[str, T], name: str) -> T:
    """Return a host of the service. Raise DriverFailed for any other."""
    try:
        return hosts[name]
    except KeyError:
        raise DriverFailed(
            f"{name or 'this host'} is not a host of this service: {', '.join(hosts)}", "name it in the inventory"
        ) from None
