"""The address of a database that carries a store: how it is written, and how it is shown."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from deployer.core.errors import Refused
from deployer.core.secret import SecretText

EXAMPLE = "postgresql://deployer@db.example.com/deployer"
_SCHEMES = ("postgresql", "postgres")
_SERVERS = re.compile(r"(?:[^:@\[\]]*|\[[0-9a-fA-F:.%]+\])(?::[0-9]*)?")  # HOST:PORT, [IPV6]:PORT; libpq takes several
_PASSWORD = re.compile(r"(?i)(?:ssl)?password=")


def checked(address: str) -> str:
    """Return an address that can be one of a store, and hide its password from now on. Raise Refused, showing none."""
    parts = urlsplit(address, allow_fragments=False)
    user, _, servers = parts.netloc.rpartition("@")
    if parts.scheme not in _SCHEMES:
        raise Refused("what --store or DEPLOYER_STORE says is not the address of a store", f"write it like {EXAMPLE}")
    if "@" in user or "@" in parts.path or not all(map(_SERVERS.fullmatch, servers.split(","))):
        raise Refused(
            "the address of the store in --store or DEPLOYER_STORE cannot be read",
            f"write it like {EXAMPLE}; in a password, write %40 for @, %3A for :, %2F for /, %3F for ?;"
            " or leave the password out and use ~/.pgpass",
        )
    for password in (user.partition(":")[2], *(text.partition("=")[2] for text in _options(parts.query, secret=True))):
        if password:
            SecretText(unquote(password))
    return address


def without_password(address: str) -> str:
    """Return an address as it may be shown and written down: it says the same, but for the password."""
    parts = urlsplit(address, allow_fragments=False)
    user, at, servers = parts.netloc.rpartition("@")
    name = user.partition(":")[0]
    query = "&".join(_options(parts.query, secret=False))
    return f"{parts.scheme}://{name}{at}{servers}{parts.path}{query and '?'}{query}"


def _options(query: str, *, secret: bool) -> list[str]:
    return [text for text in query.split("&") if text and bool(_PASSWORD.match(text)) == secret]
