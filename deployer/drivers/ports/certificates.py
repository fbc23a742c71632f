"""The certificates that a proxy shows: a traffic layer without domains has none of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from deployer.core.clock import Deadline
from deployer.drivers.ports.traffic import TrafficLayer

if TYPE_CHECKING:
    from deployer.planning.certificates import ServedCertificate


class ShownCertificates(Protocol):
    """The certificates that one proxy, or several, show."""

    def install(self, given: Sequence[ServedCertificate], deadline: Deadline) -> None:
        """Serve these certificates, without a reload where the proxy has the domain; read back by a handshake.

        A placeholder is kept only where the proxy has nothing for the domain.
        """
        ...

    def shown(self, service: str) -> Mapping[str, Mapping[str, str]]:
        """Return the certificate, PEM, that each proxy shows for each domain of a service, as a handshake reads it.

        By the name of the proxy's host ("" is this one), then by domain ("" where the service has none). Nothing for a
        service without TLS.
        """
        ...


class CertificateProxy(TrafficLayer, Protocol):
    """A proxy with certificates."""

    @property
    def certificates(self) -> ShownCertificates:
        """What it shows for each domain."""
        ...
