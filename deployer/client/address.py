"""Which server, and what opens it: nothing here needs more than the standard library."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from deployer.core.errors import NoServer, Refused
from deployer.core.secret import SecretText

API = "/api/v1"
_URL = re.compile(r"https?://[\x21-\x7e]+", re.IGNORECASE)
_TOKEN = re.compile(r"[A-Za-z0-9_.~+/=-]{1,200}")


@dataclass(frozen=True)
class DeployServer:
    """A server: its address without a path of the API, who told it (an option or a variable), where its token is."""

    url: str
    told_by: str
    token_file: Path | None = None
    ca: Path | None = None  # certificates of authorities, PEM; else those of REQUESTS_CA_BUNDLE, else the usual ones

    @classmethod
    def of(cls, text: str, told_by: str, token_file: Path | None = None, ca: Path | None = None) -> DeployServer:
        """Read an address. Raises Refused."""
        url = text.strip().rstrip("/").removesuffix(API).rstrip("/")
        shown = _without_password(url)
        try:
            parts = urlsplit(url)
            host, secure, odd = parts.hostname or "", parts.scheme.lower() == "https", parts.query or parts.fragment
            _ = parts.port
        except ValueError:
            host = ""
        if not host or not _URL.fullmatch(url) or odd or "@" in parts.netloc:
            raise Refused(
                f"{told_by}: {shown[:100]!a} is not an address of a server", "such as https://deploy.example.com:8642"
            )
        if not secure and not _is_here(host):
            raise Refused(
                f"{told_by}: {shown[:100]} would send the token in the clear",
                "https://, or http:// to this host (a tunnel: ssh -L 8642:127.0.0.1:8642 HOST)",
            )
        if ca is not None and not ca.is_file():
            raise Refused(f"{ca} is not a file with certificates", "--ca FILE, PEM")
        return cls(url, told_by, token_file, ca)

    has_state = False  # it has its own state folder

    @property
    def option(self) -> str:
        """Return what names it on a command line."""
        return f"--server {self.url}"

    @property
    def base(self) -> str:
        """Return what the addresses of requests begin with."""
        return self.url

    @property
    def unreached(self) -> str:
        """Return what to look at when there is no answer."""
        return "is `deploy serve` running there, and is the address right?"

    def token(self, environ: Mapping[str, str]) -> SecretText:
        """Return the token, from the file that was named or from the environment. Raises NoServer and Refused."""
        named = environ.get("DEPLOYER_TOKEN_FILE", "")
        file = self.token_file or (Path(named) if named else None)
        if self.token_file is None and environ.get("DEPLOYER_TOKEN"):
            text, where = environ["DEPLOYER_TOKEN"], "DEPLOYER_TOKEN"
        elif file is not None:
            try:
                text, where = file.read_text(encoding="utf-8"), str(file)
            except (OSError, UnicodeDecodeError) as error:
                why = error.strerror if isinstance(error, OSError) else "it is not text"
                raise Refused(f"{file} cannot be read: {why}", "name the file of the token: --token-file") from None
        else:
            raise NoServer(
                f"there is no token for {self.url}",
                "DEPLOYER_TOKEN, DEPLOYER_TOKEN_FILE or --token-file; `deploy token create` makes one on that host",
            )
        token = SecretText(text.strip())
        if not _TOKEN.fullmatch(token.reveal()):
            raise Refused(f"what {where} has is not a token", "the line that `deploy token create` printed")
        return token

    def refusal(self, command: str) -> Refused:
        """Return the error that a command is for this host only."""
        without = "leave --server out" if self.told_by == "--server" else f"unset {self.told_by}"
        return Refused(
            f"{command} works on the host where it is called, not through a server",
            f"call it on the host of {self.url}, or {without} to mean this one",
        )


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _without_password(url: str) -> str:
    scheme, mark, rest = url.rpartition("://")
    return f"{scheme}{mark}…@{rest.rpartition('@')[2]}" if "@" in rest else url
