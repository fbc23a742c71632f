"""Guests on many hosts: one engine each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from deployer.core.clock import Deadline
from deployer.core.errors import HostsUnreachable, Refused
from deployer.drivers.ports.guests import GuestUse
from deployer.drivers.runtime.docker.fleet_host import FleetHost, answers
from deployer.drivers.runtime.docker.guests import AT_ONCE
from deployer.drivers.runtime.hosts import host_of
from deployer.model import GuestTerms, Instance
from deployer.transport.fanout import on_all


class FleetGuests:
    """Keeps the instances of tenants apart on the hosts of an inventory; `wanted` are those of a release."""

    def __init__(self, wanted: Mapping[str, FleetHost], members: Mapping[str, FleetHost]) -> None:
        self._wanted, self._members = wanted, members

    def require(self, terms: GuestTerms) -> None:
        """Raise Refused where the engine of a host lacks what the terms of a tenant ask for; who is silent is left."""
        for name, member in self._wanted.items():
            with suppress(HostsUnreachable), _named(name):
                member.read(lambda runtime: runtime.guests.require(terms))

    def check(self, terms: GuestTerms) -> None:
        """Raise Refused where a host on which a release is to stand cannot keep a tenant to its terms."""
        for name, member in self._wanted.items():
            with _named(name):
                member.read(lambda runtime: runtime.guests.check(terms))

    def freeze(self, instances: Sequence[Instance], deadline: Deadline) -> None:
        """Take processors away from instances, on all hosts at the same time; a host that is silent is left."""
        there = {host: [i for i in instances if i.host == host] for host in {i.host for i in instances}}

        def freeze(host: str) -> None:
            with suppress(HostsUnreachable):
                host_of(self._members, host).do(lambda runtime: runtime.guests.freeze(there[host], deadline))

        on_all({host: host for host in there}, freeze, AT_ONCE).all()

    def room(self) -> dict[str, int]:
        """Return how many bytes of memory each host can still give; one that is silent is left out."""
        return answers(self._wanted, lambda member: member.read(lambda runtime: runtime.guests.room())[""], least=0)

    def use(self, terms: GuestTerms) -> dict[str, GuestUse]:
        """Return what a tenant uses on each host; one that is silent is left out."""
        return answers(self._wanted, lambda member: member.read(lambda runtime: runtime.guests.use(terms))[""], least=0)


@contextmanager
def _named(host: str) -> Iterator[None]:
    """Let a refusal say which host it is of."""
    try:
        yield
    except Refused as error:
        raise Refused(f"{host or 'this host'}: {error.message}", error.hint) from error
