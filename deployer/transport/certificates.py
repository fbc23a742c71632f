"""An engine behind TLS: the files by which both sides prove who they are, and what goes wrong with them.

They are named as Docker's own: `ca.pem` signs the engine's certificate, `cert.pem` and `key.pem` are ours.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from deployer.core.errors import Refused
from deployer.transport.timeouts import QUICK

CA, CERT, KEY = "ca.pem", "cert.pem", "key.pem"
CONNECT_SECONDS = float(QUICK.connect)  # greeting included
_OTHERS = 0o077
_WRONG_NAME = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
_EXPIRED = 10
_PROVE = "is it signed by the authority that its engine has as --tlscacert, and is it still valid?"


@dataclass(frozen=True)
class Trouble:
    """One thing that is wrong, and what to do about it."""

    text: str
    remedy: str


@dataclass(frozen=True)
class Certificates:
    """The folder that holds them."""

    folder: Path

    @property
    def ca(self) -> Path:
        """Whom we believe."""
        return self.folder / CA

    @property
    def cert(self) -> Path:
        """Who we are."""
        return self.folder / CERT

    @property
    def key(self) -> Path:
        """Private half of it."""
        return self.folder / KEY

    def troubles(self) -> Iterator[Trouble]:
        """Yield what is wrong with the files themselves; nothing is connected to."""
        unread = [path for path in (self.ca, self.cert, self.key) if not os.access(path, os.R_OK)]
        for path in unread:
            why = "cannot be read" if path.exists() else "is not there"
            yield Trouble(f"{path} {why}", f"put {CA}, {CERT} and {KEY} into one folder, as for Docker's own client")
        if self.key not in unread:
            yield from self._open_key()
        if not unread:
            yield from self._unfit()

    def _open_key(self) -> Iterator[Trouble]:
        """As ssh has it: what belongs to somebody else is his to guard."""
        found = self.key.stat()
        if found.st_uid == os.getuid() and found.st_mode & _OTHERS:
            mode = f"{found.st_mode & 0o777:04o}"
            yield Trouble(f"{self.key} can be read by others (mode {mode})", f"chmod 600 {self.key}")

    def _unfit(self) -> Iterator[Trouble]:
        try:
            self.context()
        except (ssl.SSLError, ValueError) as error:
            text = f"{self.folder}: {CERT}, {KEY} and {CA} cannot be used: {error}"
            yield Trouble(text, "they must be PEM, the key without a password and the one of the certificate")

    def context(self) -> ssl.SSLContext:
        """Return a context that believes `ca.pem` and nobody else, checks names, and shows our certificate."""
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(self.ca))
        # A password is never asked for: whoever runs this may have no terminal.
        context.load_cert_chain(self.cert, self.key, password=lambda: "")
        return context

    def ends(self) -> dict[str, datetime]:
        """Return the dates on which deployer's certificates end, by file. Needs the library that comes with Ansible."""
        from cryptography import x509

        return {
            str(path): min(each.not_valid_after_utc for each in x509.load_pem_x509_certificates(path.read_bytes()))
            for path in (self.cert, self.ca)
        }


def place(address: str) -> tuple[str, int]:
    """Split `tcp://HOST:PORT`. Raises Refused for anything else."""
    remedy = "write it like tcp://10.0.0.7:2376, as its certificate names it; without it, ssh is used"
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise Refused(f"{address!r} is not an address of an engine", remedy) from None
    more = parts.path or parts.query or parts.fragment or "@" in parts.netloc
    if parts.scheme != "tcp" or more or not host or not port:
        raise Refused(f"{address!r} is not an address of an engine", remedy)
    return host, port


@dataclass(frozen=True)
class Greeted:
    """What an engine said: its version, and when its certificate ends."""

    version: str
    ends: datetime


def greet(address: str, certificates: Certificates, seconds: float) -> Greeted:
    """Ask an engine who it is, by no proxy; raises OSError (see `said`) or http.client.HTTPException."""
    host, port = place(address)
    asking = http.client.HTTPSConnection(
        host, port, timeout=min(seconds, CONNECT_SECONDS), context=certificates.context()
    )
    try:
        asking.connect()
        shown = asking.sock.getpeercert() if isinstance(asking.sock, ssl.SSLSocket) else None
        asking.request("GET", "/version")
        told = json.loads(asking.getresponse().read())
    finally:
        asking.close()
    ends = ssl.cert_time_to_seconds(str((shown or {})["notAfter"]))
    return Greeted(str(told["Version"]), datetime.fromtimestamp(ends, UTC))


def said(error: BaseException, address: str, certificates: Certificates) -> Trouble:
    """Return why there is no connection to an engine, from whatever of the libraries' errors tells it best."""
    causes = tuple(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _distrusted(cause, address, certificates)
    for cause in causes:
        if isinstance(cause, ssl.SSLError):
            return _unfit(cause, address, certificates)
    for cause in causes:
        if isinstance(cause, TimeoutError):
            text = f"no connection to {address} within {CONNECT_SECONDS:g} s"
            return Trouble(text, "is it on, and does a firewall let this host through?")
        if isinstance(cause, ConnectionResetError | BrokenPipeError):
            return _hung_up(address, certificates)
        if isinstance(cause, ConnectionRefusedError):
            return Trouble(f"{address}: connection refused", "does its engine listen there with --tlsverify?")
        if isinstance(cause, socket.gaierror):
            return Trouble(f"{address}: its name is not known", "correct deployer_engine")
    last = next((cause for cause in reversed(causes) if isinstance(cause, OSError) and cause.strerror), error)
    text = last.strerror if isinstance(last, OSError) and last.strerror else str(last)
    return Trouble(f"{address}: {text}", "does its engine listen there with --tlsverify?")


def _distrusted(error: ssl.SSLCertVerificationError, address: str, certificates: Certificates) -> Trouble:
    why = error.verify_message.rstrip(".")
    if error.verify_code in _WRONG_NAME:
        return Trouble(
            f"{address}: its certificate belongs to another host: {why}",
            "name it in deployer_engine as its certificate does, or give that this name (subjectAltName)",
        )
    if error.verify_code == _EXPIRED:
        return Trouble(f"{address}: its certificate is refused: {why}", "renew it there, and restart its engine")
    return Trouble(
        f"{address}: its certificate is not trusted: {why}",
        f"it must be signed by {certificates.ca}; if it should be, somebody is in between",
    )


def _unfit(error: ssl.SSLError, address: str, certificates: Certificates) -> Trouble:
    reason = (error.reason or str(error)).replace("_", " ").lower()
    if "alert" in reason:
        return Trouble(
            f"{address}: it refuses {certificates.cert}: {reason.partition('alert ')[2]}",
            _PROVE,
        )
    if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST"):
        return Trouble(f"{address}: it does not speak TLS", "start its engine with --tlsverify")
    if error.reason in ("SYS", "UNEXPECTED_EOF_WHILE_READING", None) or error.errno == ssl.SSL_ERROR_SYSCALL:
        return _hung_up(address, certificates)
    return Trouble(f"{address}: no TLS with it: {reason}", "does its engine listen there with --tlsverify?")


def _hung_up(address: str, certificates: Certificates) -> Trouble:
    """Return why it went away without an answer: what it says of a certificate is lost when we are still talking."""
    return Trouble(f"{address}: it refuses {certificates.cert}, or no engine is behind it: it hung up", _PROVE)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all that lies below it; libraries keep it in very different places."""
    seen: list[BaseException] = []
    wait: list[object] = [error]
    while wait:
        found = wait.pop(0)
        if isinstance(found, BaseException) and found not in seen:
            seen.append(found)
            yield found
            wait += [*found.args, getattr(found, "reason", None), found.__cause__, found.__context__]
