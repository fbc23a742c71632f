"""What the rest of deployer asks of certificates: what is kept, orders, and what the authority suggests."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from deployer.core import extras, later
from deployer.core.clock import Clock, Deadline
from deployer.core.errors import Problem, Refused
from deployer.core.secret import SecretText
from deployer.drivers.certificates import probe, problems
from deployer.drivers.certificates.dns import DnsRecords
from deployer.drivers.certificates.files import AcmeAccount, CertificateFiles
from deployer.manifest import envfile
from deployer.planning.certificates import CertificateFacts, OrderHistory, ServedCertificate, Suggestion

if TYPE_CHECKING:
    from deployer.drivers.certificates import authority, keys, lego, proofs
    from deployer.manifest.tls import AutoTls
else:  # the libraries of the extra `tls`
    names = ("authority", "keys", "lego", "proofs")
    authority, keys, lego, proofs = (later.module(f"deployer.drivers.certificates.{name}") for name in names)

_NEEDED = ("acme", "josepy", "cryptography")


class CertificateKeeper:
    """The certificates of a state folder; `resolve` says where domains lead."""

    def __init__(self, state: Path, clock: Clock, resolve: probe.Resolve = probe.addresses) -> None:
        self._files, self._clock, self._resolve = CertificateFiles(state), clock, resolve

    def served(self, domain: str, auto: AutoTls) -> ServedCertificate:
        """Return what a proxy is to serve for a domain: what is kept, else a placeholder, made when it is first asked.

        Raise Refused where the libraries are missing.
        """
        account = self._account(auto.directory).thumbprint
        if kept := self._files.read(domain):
            return ServedCertificate(domain, account, kept)
        pem = self._files.placeholder(domain)
        if not pem:
            require()
            pem = self._files.keep_placeholder(domain, keys.placeholder(domain, self._clock.now()))
        return ServedCertificate(domain, account, pem, placeholder=True)

    def kept(self, domain: str) -> CertificateFacts | None:
        """Return what the certificate that is kept for a domain says; None where there is none."""
        pem = self._files.read(domain)
        return self.facts(pem) if pem else None

    def facts(self, pem: str) -> CertificateFacts:
        """Return what the first certificate of a PEM text says. Raise Refused for what cannot be read."""
        require("reading a certificate", ("cryptography",))
        return keys.facts(pem)

    def history(self, domain: str) -> OrderHistory:
        """Return what became of orders for a domain."""
        return self._files.history(domain)

    def remember(self, domain: str, history: OrderHistory) -> None:
        """Remember what became of an order."""
        self._files.remember(domain, history)

    def keep(self, domain: str, certificate: str, key: str) -> CertificateFacts:
        """Keep a certificate with its key for a domain. Raise Refused when they do not belong together, or to it."""
        require()
        pem = keys.joined(certificate, key)
        facts = keys.facts(pem)
        if domain not in facts.names and f"*.{domain.partition('.')[2]}" not in facts.names:
            names = ", ".join(facts.names) or "no domain"
            raise Refused(f"the certificate is for {names}, not for {domain}", "import one for that domain")
        if not facts.begins <= self._clock.now() < facts.ends:
            raise Refused("the certificate is not valid now", "is it the newest one? is the clock of this host right?")
        self._files.keep(domain, pem)
        return facts

    def elsewhere(self, domain: str, auto: AutoTls, port: int, deadline: Deadline) -> tuple[str, str]:
        """Return why a domain does not lead to the proxy, and what to do; ("", "") where it does, or nobody knows."""
        if auto.dns or not auto.probe:
            return "", ""
        return probe.elsewhere(domain, self._account(auto.directory).thumbprint, port, deadline, self._resolve)

    def order(self, domain: str, auto: AutoTls, deadline: Deadline) -> CertificateFacts:
        """Order a certificate for a domain and keep it with its new key. Raise OrderFailed."""
        require()
        key, dns, email = keys.new_key(), auto.dns, auto.email or ""
        environ = _environ(dns.env_file or "") if dns else {}
        if dns and dns.lego:
            self._authority(auto, deadline).register(domain, email)
            by = lego.Lego(dns.lego, environ, self._files.folder, check=dns.check)
            account = self._account(auto.directory)
            chain = by.order(domain, keys.request(domain, key), account, auto.ca or "", deadline)
        else:
            proof: proofs.DomainProof = proofs.PersistProof() if dns else proofs.HttpProof()
            if dns and dns.run:
                proof = proofs.RecordProof(DnsRecords(dns.run, dns.wait, environ, self._files.folder, self._clock))
            chain = self._authority(auto, deadline).order(domain, key, email, proof)
        facts = keys.facts(chain)
        if wrong := problems.of_clock(domain, facts.begins, facts.ends, self._clock.now()):
            raise wrong
        self._files.keep(domain, keys.joined(chain, key))
        return facts

    def suggestion(self, domain: str, auto: AutoTls, deadline: Deadline) -> Suggestion:
        """Return the time at which the authority would like a domain's certificate renewed. Raise OrderFailed."""
        require()
        return self._authority(auto, deadline).suggestion(domain, self._files.read(domain))

    def _authority(self, auto: AutoTls, deadline: Deadline) -> authority.Authority:
        account = self._account(auto.directory)

        def registered(address: str) -> None:
            self._files.replace_account(replace(account, address=address))

        return authority.Authority(auto.directory, auto.ca or "", account, registered, self._clock, deadline)

    def _account(self, directory: str) -> AcmeAccount:
        """Return our account, whose key is made when it is first asked for."""
        if account := self._files.account(directory):
            return account
        require()
        key = keys.new_key()
        return self._files.keep_account(AcmeAccount(directory, authority.thumbprint(key), key))


def _environ(env_file: str) -> Mapping[str, str]:
    """Return the environment of a program, with the variables of a file. Raise Refused."""
    problems_of: list[Problem] = []
    found = envfile.texts(envfile.read(Path(env_file), os.environ, {}, problems_of)) if env_file else {}
    if problems_of:
        first = problems_of[0]
        raise Refused(f"{env_file} {first.message}", first.hint or "`tls.auto.dns.env_file` names it")
    for value in found.values():
        SecretText(value)  # never shown
    return {**os.environ, **found}


def require(what: str = "`tls: auto`", needed: Sequence[str] = _NEEDED) -> None:
    """Raise Refused where libraries of the extra `tls` are missing."""
    if missing := [name for name in needed if importlib.util.find_spec(name) is None]:
        raise Refused(f"{what} needs {', '.join(missing)}", extras.how_to_add("tls"))
