"""What is kept of certificates in the state folder, each file 0600.

accounts/HOST-….json   key and address of our account at an authority
DOMAIN.pem             key and chain
DOMAIN.placeholder     key and certificate, signed by itself, until there is another one
DOMAIN.json            what became of orders
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from deployer.core import files
from deployer.core.errors import Refused, StoreFailed
from deployer.core.secret import SecretText
from deployer.planning.certificates import OrderHistory, Suggestion

FOLDER = "certificates"


@dataclass(frozen=True)
class AcmeAccount:
    """Our account at an authority: its key, how proofs name it, and its address once it is registered there."""

    directory: str
    thumbprint: str
    key: str = field(repr=False)
    address: str = ""


class CertificateFiles:
    """The files of a state folder."""

    def __init__(self, state: Path) -> None:
        self.folder = state / FOLDER

    def read(self, domain: str) -> str:
        """Return key and chain of a domain; "" where there is none."""
        return self._read(self._path(domain, "pem"))

    def keep(self, domain: str, pem: str) -> None:
        """Keep key and chain of a domain, in place of what there was."""
        self._write(self._path(domain, "pem"), pem)

    def placeholder(self, domain: str) -> str:
        """Return the placeholder of a domain; "" where there is none."""
        return self._read(self._path(domain, "placeholder"))

    def keep_placeholder(self, domain: str, pem: str) -> str:
        """Keep a placeholder, unless another process was faster; return the one that is kept."""
        self._write(self._path(domain, "placeholder"), pem, files.first)
        return self.placeholder(domain)

    def history(self, domain: str) -> OrderHistory:
        """Return what became of orders for a domain."""
        path = self._path(domain, "json")
        try:
            data = json.loads(self._read(path) or "{}")
            return OrderHistory(**{**data, "suggestion": Suggestion(**data.get("suggestion", {}))})
        except (ValueError, TypeError, AttributeError) as error:
            raise Refused(
                f"{path} cannot be read: {error}", "it was edited; delete it: only its count is lost"
            ) from None

    def remember(self, domain: str, history: OrderHistory) -> None:
        """Remember what became of an order."""
        self._write(self._path(domain, "json"), json.dumps(asdict(history)))

    def account(self, directory: str) -> AcmeAccount | None:
        """Return our account at an authority; None before there is one."""
        path = self._account(directory)
        text = self._read(path)
        if not text:
            return None
        try:
            return AcmeAccount(**json.loads(text))
        except (ValueError, TypeError):
            raise Refused(
                f"{path} cannot be read", "restore it from a backup, or delete it for a new account"
            ) from None

    def keep_account(self, account: AcmeAccount) -> AcmeAccount:
        """Keep an account, unless another process was faster; return the one that is kept."""
        self._write(self._account(account.directory), json.dumps(asdict(account)), files.first)
        return self.account(account.directory) or account

    def replace_account(self, account: AcmeAccount) -> None:
        """Write what has changed of an account."""
        self._write(self._account(account.directory), json.dumps(asdict(account)))

    # -- parts

    def _path(self, domain: str, kind: str) -> Path:
        return self.folder / f"{domain.replace('*', '_')}.{kind}"

    def _account(self, directory: str) -> Path:
        name = hashlib.sha256(directory.encode()).hexdigest()[:12]
        return self.folder / "accounts" / f"{urlsplit(directory).hostname}-{name}.json"

    def _read(self, path: Path) -> str:
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError) as error:
            raise StoreFailed(f"{path} cannot be read: {error}", "who changed it?") from None
        if begin := text.find("-----BEGIN PRIVATE KEY-----") + 1:
            SecretText(text[begin - 1 : text.find("-----END PRIVATE KEY-----")])
        return text

    def _write(self, path: Path, text: str, write: Callable[[Path, str], object] = files.replace) -> None:
        try:
            files.folder(path.parent)
            write(path, text)
        except OSError as error:
            raise StoreFailed(f"{path} cannot be written: {error.strerror}", "is the disk full?") from None
