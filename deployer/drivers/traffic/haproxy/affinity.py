"""Affinity to an instance: a client that an instance answered gets it again, for as long as it is in the proxy.

    deployer-shop.blue=1830954217      the id of the server: HMAC(key of the service, "shop|blue|NAME"), 31 bits of it

The proxy compares the cookie with the ids of its servers, so a made-up one finds none and draws an instance like a new
client. Each colour has a cookie of its own: a client whose side changes gets an instance there, and its old one again
if it comes back. A tcp service has no cookie; there the address of the client decides, by a hash over the same ids,
which are the same on every proxy and after every restart.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterator
from typing import TYPE_CHECKING

from deployer.drivers.traffic.haproxy.quote import word
from deployer.drivers.traffic.haproxy.rules import Rules, uncacheable, unspoken
from deployer.model import Place, numbers_of

if TYPE_CHECKING:
    from deployer.drivers.traffic.haproxy.spec import BackendSide, Spec

# Ids are whole numbers of 31 bits. The low ones are those that HAProxy gives by itself, as to the server `wait`.
_LOWEST, _BELOW = 2**16, 2**31


def server(spec: Spec, place: Place, name: str) -> str:
    """Return the options by which a client finds a server again, or the first ones are full before the others."""
    side = spec.side(place)
    if not side.keeps_instance:
        return f" id {place_in_line(spec, place, name)}" if side.concurrency else ""
    number = ident(spec, place, name)
    return f" id {number}" + (f" cookie {number}" if spec.entry.mode == "http" else "")


def ident(spec: Spec, place: Place, name: str) -> int:
    """Return the id of a server: two of a hundred in one backend have the same once in 400,000 deploys."""
    said = f"{spec.service}|{place}|{name}".encode()
    tag = hmac.digest(base64.b64decode(spec.key), said, hashlib.sha256)
    return _LOWEST + int.from_bytes(tag[:8], "big") % (_BELOW - _LOWEST)


def place_in_line(spec: Spec, place: Place, name: str) -> int:
    """Return the id of a server, rising with the number of its instance; none that runs beside it has the same."""
    release, index = numbers_of(spec.service, name)
    if not release:
        return ident(spec, place, name)
    return _LOWEST + release % 20_000 * 100_000 + index % 100_000


def balance(spec: Spec, side: BackendSide) -> Iterator[str]:
    """Return how a backend chooses a server for those who have none yet."""
    if side.keeps_instance and spec.entry.mode == "tcp":
        yield "  balance source"
        yield "  hash-type consistent"
    elif side.concurrency and not side.keeps_instance:
        yield "  balance first"  # by their ids: the instance that is removed first has the least to do
    else:
        yield "  balance leastconn"


def cookie(spec: Spec, place: Place) -> Iterator[str]:
    """Return the rules that read the cookie, and give one to a client that another instance answered than it names."""
    name = f"deployer-{word(spec.service)}.{place}"  # no service has a dot in its name
    yield f"  cookie {name}"
    yield f"  http-request set-var(txn.instance) req.cook({name})"
    value = f"{name}=%[srv_id]; Path=/; HttpOnly; SameSite=Lax"
    # Only an instance's own answer: not one that the proxy makes while nobody is up.
    response = Rules("http-response", "txn")
    moved = response.has("moved")
    yield response.put("moved", "bool(true)", "!{ srv_id,strcmp(txn.instance) eq 0 } !{ var(txn.beside) -m found }")
    yield response.put("named", "bool(true)", " or ".join(f"{moved} {each}" for each in uncacheable()))
    yield response.put("named", "bool(true)", moved, unspoken())
    if spec.entry.tls:
        yield "  http-request set-var(txn.tls) bool(true) if { ssl_fc }"
        yield '  http-request set-var(txn.secure) str("; Secure") if { var(txn.tls) -m bool }'
        value += "%[var(txn.secure)]"
    yield response.line(f"add-header Set-Cookie '{value}'", response.has("named"))
