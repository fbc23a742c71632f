"""What the proxy shows for each domain, and how a new certificate comes to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deployer.core.clock import Clock, Deadline
from deployer.drivers.traffic.haproxy import certificates, spec
from deployer.drivers.traffic.haproxy.proxy import Proxy
from deployer.planning.certificates import ServedCertificate

READ_WITHIN = 10.0  # seconds


class HAProxyCertificates:
    """The certificates of one proxy."""

    def __init__(self, proxy: Proxy, clock: Clock) -> None:
        self._proxy, self._home, self._clock = proxy, proxy.home, clock
        self._files = certificates.ProxyCertificates(proxy.home, proxy.master)

    def install(self, given: Sequence[ServedCertificate], deadline: Deadline) -> None:
        """Serve these certificates: to the files first, then to every worker that has the domain; read back.

        A placeholder goes to the files only, where they have nothing: it is shown from the next configuration on.
        """
        with self._home.locked(deadline):
            kept = self._files.keep(given)
            if not self._proxy.master.answers():
                return
            specs = spec.load_all(self._home.services)
            for one in (each for each in kept if not each.placeholder):
                self._files.show(one, specs.values(), deadline)

    def shown(self, service: str) -> Mapping[str, Mapping[str, str]]:
        """Return the certificate, PEM, that the proxy shows for each domain of a service; "" is a service without one.

        By the name of the proxy's host, which is "" for this one.
        """
        known = spec.load(self._home.services, service)
        if known is None or known.entry.tls is None:
            return {"": {}}
        listen, deadline = known.entry.tls.listen, Deadline.after(self._clock, READ_WITHIN)
        self._proxy.ready(deadline)
        domains = known.entry.domains or ("",)
        return {"": {domain: certificates.shown(listen, domain, deadline) for domain in domains}}
