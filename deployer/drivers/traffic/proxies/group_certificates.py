"""The certificates of several proxies: each has the same key and chain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deployer.core.clock import Deadline
from deployer.drivers.traffic.proxies.members import EVERY, Members
from deployer.planning.certificates import ServedCertificate


class GroupCertificates:
    """The certificates that all of them show. `given` is what was installed last: a lost proxy lacks it."""

    def __init__(self, members: Members) -> None:
        self._members = members
        self.given: tuple[ServedCertificate, ...] = ()

    def install(self, given: Sequence[ServedCertificate], deadline: Deadline) -> None:
        """Serve these certificates at all of them."""
        self.given = tuple(given)
        self._members.all(EVERY, lambda member: member.certificates.install(given, deadline))

    def shown(self, service: str) -> Mapping[str, Mapping[str, str]]:
        """Return the certificate that each of them shows for each domain of a service, by the name of its host."""
        found = self._members.ask(service, lambda member: member.certificates.shown(service))
        return {name: shown for name, one in found.items() for shown in one.values()}
