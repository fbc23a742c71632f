"""Key and chain of each domain whose certificate is got by itself: in the proxy's files first, then in every worker.

A new certificate for a domain that the proxy serves takes effect without a reload: the next handshake has it.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from deployer.core.clock import Deadline
from deployer.core.errors import DriverFailed
from deployer.core.retrying import retry
from deployer.drivers.traffic.haproxy import layout
from deployer.drivers.traffic.haproxy.layout import Home
from deployer.drivers.traffic.haproxy.listeners import Listen
from deployer.drivers.traffic.haproxy.master import MasterSocket, Worker
from deployer.drivers.traffic.haproxy.spec import Spec
from deployer.planning.certificates import ServedCertificate

HANDSHAKE_SECONDS = 5.0
END = "-----END CERTIFICATE-----"


def file_of(home: Home, domain: str) -> Path:
    """Return the file with key and chain of a domain."""
    return home.certificates / f"{domain.replace('*', '_')}.pem"


def account_of(home: Home, domain: str) -> Path:
    """Return the file with the thumbprint of the account that proves a domain."""
    return home.certificates / f"{domain.replace('*', '_')}.account"


def accounts(specs: Sequence[Spec], home: Home) -> str:
    """Return the map from domain to the thumbprint of its account."""
    domains = sorted({domain for spec in specs if is_auto(spec) for domain in spec.entry.domains})
    found = ((domain, (layout.read(account_of(home, domain)) or "").strip()) for domain in domains)
    return "".join(f"{domain} {thumbprint}\n" for domain, thumbprint in found if thumbprint)


def is_auto(spec: Spec) -> bool:
    """Return whether the certificates of a service are got by themselves."""
    return bool(spec.entry.tls and spec.entry.tls.auto)


def files(specs: Sequence[Spec], home: Home) -> tuple[str, ...]:
    """Return the files with certificates that an entry of these services has, each once."""
    return tuple(dict.fromkeys(path for spec in specs for path in _files(spec, home)))


def _files(spec: Spec, home: Home) -> Iterator[str]:
    if spec.entry.tls and spec.entry.tls.auto:
        yield from (str(file_of(home, domain)) for domain in spec.entry.domains)
    elif spec.entry.tls:
        yield from spec.entry.tls.certificates or ()


class ProxyCertificates:
    """The certificates of a proxy. The caller holds the lock of its folder for what changes them."""

    def __init__(self, home: Home, master: MasterSocket) -> None:
        self._home, self._master = home, master

    def keep(self, given: Sequence[ServedCertificate]) -> tuple[ServedCertificate, ...]:
        """Write key and chain of each domain to the files; return what is in them now, whatever was there."""
        self._home.create()
        kept = []
        for one in given:
            path, account = file_of(self._home, one.domain), account_of(self._home, one.domain)
            there = layout.read(path)
            pem = there if there and one.placeholder else one.pem
            if pem != there:
                layout.write(path, pem, 0o600)
            if (layout.read(account) or "").strip() != one.account:
                layout.write(account, f"{one.account}\n", 0o600)
            kept.append(ServedCertificate(one.domain, one.account, pem, one.placeholder))
        return tuple(kept)

    def show(self, one: ServedCertificate, specs: Iterable[Spec], deadline: Deadline) -> None:
        """Have every entry that has a domain show what is in its file. Raise DriverFailed when one does not.

        A domain that the running proxy does not have gets its certificate with the next configuration.
        """
        entries = [s.entry.tls.listen for s in specs if is_auto(s) and s.entry.tls and one.domain in s.entry.domains]
        for listen in dict.fromkeys(entries):
            if _is(one, shown(listen, one.domain, deadline)):
                continue
            self._master.undisturbed(partial(self._swap_all, one, deadline), deadline)
            if not _is(one, shown(listen, one.domain, deadline)):
                raise DriverFailed(
                    f"the proxy took the certificate of {one.domain} and shows another one at {listen}",
                    "another service may have a certificate for that domain: see `deploy doctor`",
                )

    def forget(self, gone: Spec, specs: Iterable[Spec]) -> None:
        """Delete the keys of a service that the proxy does not serve any more, except those that others use."""
        used = {domain for spec in specs if is_auto(spec) for domain in spec.entry.domains}
        for domain in set(gone.entry.domains) - used:
            file_of(self._home, domain).unlink(missing_ok=True)
            account_of(self._home, domain).unlink(missing_ok=True)

    def _swap_all(self, one: ServedCertificate, deadline: Deadline) -> None:
        for worker in self._master.current(deadline):
            self._swap(worker, one, deadline)

    def _swap(self, worker: Worker, one: ServedCertificate, deadline: Deadline) -> None:
        path = file_of(self._home, one.domain)
        if not self._has(worker, path, deadline):
            return  # it comes with the next configuration
        payload = "\n".join(line for line in one.pem.splitlines() if line.strip())
        self._master.run(worker, f"abort ssl cert {path}", deadline)  # of a process that died in between
        said = self._master.run(worker, f"set ssl cert {path} <<\n{payload}\n", deadline)
        if "Transaction" in said:
            said = self._master.run(worker, f"commit ssl cert {path}", deadline)
        if "Success" not in said:
            raise DriverFailed(
                f"worker {worker.pid} of the proxy refuses the certificate of {one.domain}: {said.strip()[:200]}",
                "its file has it already: `deploy up` loads it",
            )

    def _has(self, worker: Worker, path: Path, deadline: Deadline) -> bool:
        return str(path) in self._master.run(worker, "show ssl cert", deadline).splitlines()


def shown(listen: str, domain: str, deadline: Deadline) -> str:
    """Return the certificate, PEM, that the entry of this host shows in a handshake for a domain ("" for any).

    Raise DriverFailed when there is no handshake.
    """
    host, port = Listen.parse(listen).loopback.rsplit(":", 1)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    name = domain.replace("*", "deployer-probe") or None

    def handshake() -> str:
        within = min(HANDSHAKE_SECONDS, max(deadline.left(), 0.05))
        with (
            socket.create_connection((host.strip("[]"), int(port)), within) as connection,
            context.wrap_socket(connection, server_hostname=name) as tls,
        ):
            return ssl.DER_cert_to_PEM_cert(tls.getpeercert(binary_form=True) or b"")

    try:
        return retry(handshake, deadline, (ConnectionError,), pauses=(0.05,), attempts=5)
    except OSError as error:
        why = error.strerror or str(error)
        raise DriverFailed(
            f"no TLS handshake at {listen} for {domain or 'any name'}: {why}", "`deploy doctor`"
        ) from None


def _is(one: ServedCertificate, pem: str) -> bool:
    return pem == leaf(one.pem)


def leaf(pem: str) -> str:
    """Return the first certificate of a PEM text, as a handshake shows it."""
    begin, end = pem.find("-----BEGIN CERTIFICATE-----"), pem.find(END)
    return ssl.DER_cert_to_PEM_cert(ssl.PEM_cert_to_DER_cert(pem[begin : end + len(END)])) if begin >= 0 else ""
