"""The shield, as text: a second chance with stable for what the candidate failed.

A retry of HAProxy stays inside one backend, so the shield is a backend of its own with two servers, first the
candidate's backend as a whole, second the stable one's, both behind an internal entry. So it works whatever the number
of instances, and no server is kept in two places. A reload passes the sockets of the entry on; two headers, which are
set and removed here, say what is behind them.

    users → shop_green_shield → deployer_inside → shop_green
                              ↘ deployer_inside → shop_blue       when the first one failed
    users → shop_green        → deployer_inside → shop_blue       when green has no instance (see `backend`)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from deployer.drivers.traffic.haproxy import backend, chain, naming
from deployer.drivers.traffic.haproxy.backend import FIRST, INSIDE, OTHER, SECOND, TO
from deployer.drivers.traffic.haproxy.layout import Home
from deployer.drivers.traffic.haproxy.naming import BESIDE
from deployer.drivers.traffic.haproxy.quote import milliseconds
from deployer.drivers.traffic.haproxy.spec import Spec
from deployer.model import Colour, other

FRONTEND = "deployer_inside"
SUFFIX = "_shield"
REPEATED = "x-deployer-repeated"  # a response that stable gave, between the shield and the entry
TIME_HEADER = "x-deployer-time"  # from the internal entry to the one of the user, in microseconds
# Every status of a failed instance that HAProxy can repeat a request for.
FAILURES = "500 502 503 504 conn-failure empty-response response-timeout"


def shields(spec: Spec) -> bool:
    """Return whether the service has a shield."""
    return spec.entry.shield is not None and spec.entry.mode == "http"


def entry(specs: Sequence[Spec], home: Home) -> Iterator[str]:
    """Yield the lines of the internal entry, if a service needs one: all services share its sockets."""
    if not sockets(specs):
        return
    yield f"frontend {FRONTEND} from deployer-http"
    for turn in sockets(specs):
        yield f"  bind {home.inside.bind(turn)} name {turn}"
    # Whoever waits here is the proxy itself, whose own limits come first.
    yield "  timeout client 24h"
    yield "  timeout http-keep-alive 24h"
    beside = f"{{ var(txn.turn) -m str {BESIDE} }}"
    # The way through here is no time of the release: what is told is the time behind it, as if there were no shield.
    yield "  http-request set-var(txn.t0) date(0,us)"
    yield f"  http-after-response allow if {beside}"
    yield f'  http-after-response set-header {TIME_HEADER} "%[date(0,us),sub(txn.t0)]"'
    yield f"  http-after-response del-header {REPEATED}"
    yield f"  http-after-response set-header {REPEATED} 1 if {{ var(txn.turn) -m str {SECOND} }}"
    yield "  http-request set-var(txn.turn) so_name"
    yield f"  http-request set-var(txn.to) req.hdr({TO})"
    yield f"  http-request set-var(txn.to) req.hdr({OTHER}) if {{ var(txn.turn) -m str {SECOND} }}"
    yield f"  http-request del-header {TO}"
    yield f"  http-request del-header {OTHER}"
    # The backend says the same about the client as the one before it.
    yield "  http-request set-src req.hdr(x-forwarded-for)"
    yield "  http-request set-var(txn.tls) bool(true) if { req.hdr(x-forwarded-proto) -m str https }"
    yield from chain.instead(specs, SECOND, BESIDE)
    yield "  use_backend %[var(txn.to)]"


def defaults(spec: Spec) -> tuple[str, ...]:
    """Return the lines of a shield that are the same for other services with the same settings."""
    return (
        "  balance first",
        "  timeout connect 5s",
        f"  timeout server {milliseconds(_patience(spec))}",
        "  retries 1",
        f"  retry-on {FAILURES}",
        # The entry is ours and never closes first: a connection may also carry the first request of a client.
        "  http-reuse always",
        *backend.rules(spec),
    )


def shield(spec: Spec, colour: Colour, home: Home) -> Iterator[str]:
    """Yield the other lines of the shield of a colour."""
    mine, stable = (naming.backend(spec.service, each) for each in (colour, other(colour)))
    yield f"  http-request set-header {TO} {mine}"
    yield f"  http-request set-header {OTHER} {stable}"
    yield from chain.spare(spec)
    # Where stable has nobody who could answer, the candidate's own answer is the better one.
    yield f"  http-request disable-l7-retry if !{backend.alive(stable)}"
    for turn in (FIRST, SECOND):
        yield f"  server {turn} {home.inside.server(turn)} {INSIDE}"


def _patience(spec: Spec) -> float:
    """Return more seconds than the backend behind can need: what takes too long is ended there, by its own limits."""
    return max(
        side.wait + (backend.RETRIES + 1) * (side.timeouts.connect + side.timeouts.response)
        for side in (spec.blue, spec.green)
    )


def sockets(specs: Iterable[Spec]) -> tuple[str, ...]:
    """Return the names of the sockets of the internal entry: of each way into it that a service needs."""
    http = [s for s in specs if s.entry.mode == "http"]
    shield = (FIRST, SECOND) if any(map(shields, http)) else ()
    return (*shield, *([BESIDE] if http else []))
