"""Guests on many hosts: one engine each."""

from __future__ import annotations

from collections.abc import Mapping

from deployer.core.errors import Refused
from deployer.drivers.ports.guests import GuestUse
from deployer.drivers.runtime.docker.fleet_host import FleetHost
from deployer.model import GuestTerms


class FleetGuests:
    """Keeps the instances of tenants apart on the hosts of an inventory; `wanted` are those of a release."""

    def __init__(self, wanted: Mapping[str, FleetHost]) -> None:
        self._wanted = wanted

    def check(self, terms: GuestTerms) -> None:
        """Raise Refused where a host on which a release is to stand cannot keep a tenant to its terms."""
        for name, member in self._wanted.items():
            try:
                member.read(lambda runtime: runtime.guests.check(terms))
            except Refused as error:
                raise Refused(f"{name or 'this host'}: {error.message}", error.hint) from error

    def use(self, terms: GuestTerms) -> dict[str, GuestUse]:
        """Return what a tenant uses on each host."""
        return {
            name: member.read(lambda runtime: runtime.guests.use(terms))[""] for name, member in self._wanted.items()
        }
