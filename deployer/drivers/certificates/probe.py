"""Whether a domain leads to the proxy: asked over HTTP, as the authority will."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Sequence

from deployer.core.clock import Deadline
from deployer.transport.http import get
from deployer.transport.sockets import NoAnswer

RESPONSE_SECONDS = 5.0
MOST = 8  # addresses
WEB = 80

Resolve = Callable[[str], Sequence[str]]


def addresses(domain: str) -> tuple[str, ...]:
    """Return the addresses of a domain, as this host resolves it. Raise OSError."""
    found = socket.getaddrinfo(domain, WEB, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(place[0]) for *_, place in found))


def elsewhere(
    domain: str, account: str, port: int, deadline: Deadline, resolve: Resolve = addresses
) -> tuple[str, str]:
    """Return why a domain does not lead to the proxy, and what to do; ("", "") where it does, or where nobody knows.

    The proxy may listen on another `port` than the authority asks (80, or what a router passes on): either will do. An
    address that gives no response at all decides nothing: many a network does not let a host reach itself by it.
    """
    try:
        found = resolve(domain)
    except OSError as error:
        why = error.strerror or str(error)
        return f"{domain} cannot be resolved here: {why}", "let its A or AAAA record point to the proxy"
    for address in found[:MOST]:
        seen = [_asked(address, each, domain, account, deadline) for each in dict.fromkeys((port, WEB))]
        if "" not in seen and (said := next((each for each in seen if each), None)):
            return (
                f"{domain} leads to {address}, where {said} answered instead of the proxy",
                "let all of its A and AAAA records point to the proxy; `tls.auto.probe: false` orders without asking",
            )
    return "", ""


def _asked(address: str, port: int, domain: str, account: str, deadline: Deadline) -> str | None:
    """Return "" where the proxy answers, None where nothing does, else what does."""
    token = secrets.token_urlsafe(16)
    host, seconds = f"[{address}]" if ":" in address else address, min(RESPONSE_SECONDS, deadline.left())
    try:
        response = get(f"http://{host}:{port}", f"/.well-known/acme-challenge/{token}", {"Host": domain}, seconds)
    except NoAnswer:
        return None
    return "" if response.body.strip() == f"{token}.{account}" else f"something (HTTP {response.status})"
