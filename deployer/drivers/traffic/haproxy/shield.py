"""The shield, as text: a second chance with stable for what the candidate failed.

A retry of HAProxy stays inside one backend, so the shield is a backend of its own with two servers, first the
candidate's backend as a whole, second the stable one's, both behind an internal entry. So it works whatever the number
of instances, and no server is kept in two places. A reload passes the sockets of the entry on.

    users → shop_green_shield → deployer_shield → shop_green
                              ↘ deployer_shield → shop_blue       when the first one failed
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from deployer.drivers.traffic.haproxy import backend
from deployer.drivers.traffic.haproxy.layout import Home
from deployer.drivers.traffic.haproxy.quote import milliseconds
from deployer.drivers.traffic.haproxy.spec import Spec
from deployer.model import COLOURS, Colour, other

FRONTEND = "deployer_shield"
SUFFIX = "_shield"
REPEATED = "x-deployer-repeated"  # a response that stable gave, between the shield and the entry
FIRST, SECOND = "first", "second"
TIME_HEADER = "x-deployer-time"  # from the internal entry to the one of the user, in microseconds
# Every status of a failed instance that HAProxy can repeat a request for.
FAILURES = "500 502 503 504 conn-failure empty-response response-timeout"
# Idle connections to the internal entry go after a second, long before it would close them itself.
SERVER = "pool-purge-delay 500ms"


def shields(spec: Spec) -> bool:
    """Tell whether the service has a shield."""
    return spec.entry.shield is not None and spec.entry.mode == "http"


def entry(specs: Sequence[Spec], home: Home) -> Iterator[str]:
    """Give the lines of the internal entry, if a service needs one."""
    shielded = [s for s in specs if shields(s)]
    if not shielded:
        return
    yield f"frontend {FRONTEND} from deployer-http"
    for spec in shielded:
        for colour in COLOURS:
            for turn in (FIRST, SECOND):
                name = _turn(spec, colour, turn)
                yield f"  bind {home.inside.bind(name)} name {name}"
    # Whoever waits here is the proxy itself, whose own limits come first.
    yield "  timeout client 24h"
    yield "  timeout http-keep-alive 24h"
    # The way through here is no time of the release: what is told is the time behind it, as if there were no shield.
    yield "  http-request set-var(txn.t0) date(0,us)"
    yield f'  http-after-response set-header {TIME_HEADER} "%[date(0,us),sub(txn.t0)]"'
    yield "  http-request set-var(txn.turn) so_name,field(2,.)"
    yield f"  http-after-response del-header {REPEATED}"
    yield f"  http-after-response set-header {REPEATED} 1 if {{ var(txn.turn) -m str {SECOND} }}"
    # The backend says the same about the client as without a shield.
    yield "  http-request set-var(txn.from) req.hdr(x-forwarded-for)"
    yield "  http-request set-var(txn.tls) bool(true) if { req.hdr(x-forwarded-proto) -m str https }"
    yield "  use_backend %[so_name,field(1,.)]"


def backends(spec: Spec, home: Home) -> Iterator[str]:
    """Give the lines of the shield of each colour."""
    for colour in COLOURS:
        yield ""
        yield from _shield(spec, colour, home)


def _shield(spec: Spec, colour: Colour, home: Home) -> Iterator[str]:
    yield f"backend {backend.name(spec.service, colour)}{SUFFIX} from deployer-http"
    yield "  balance first"
    yield "  timeout connect 5s"
    yield f"  timeout server {milliseconds(_patience(spec))}"
    yield "  retries 1"
    yield f"  retry-on {FAILURES}"
    # The entry is ours and never closes first: a connection may also carry the first request of a client.
    yield "  http-reuse always"
    yield from backend.rules(spec)
    yield f"  server {FIRST} {home.inside.server(_turn(spec, colour, FIRST))} {SERVER}"
    yield f"  server {SECOND} {home.inside.server(_turn(spec, other(colour), SECOND))} {SERVER}"


def _patience(spec: Spec) -> float:
    """Give more seconds than the backend behind can need: what takes too long is ended there, by its own limits."""
    return max(
        backend.QUEUE + (backend.RETRIES + 1) * (side.timeouts.connect + side.timeouts.response)
        for side in (spec.blue, spec.green)
    )


def sockets(specs: Iterable[Spec]) -> tuple[str, ...]:
    """Return the names of the sockets of the internal entry."""
    return tuple(_turn(s, colour, turn) for s in specs if shields(s) for colour in COLOURS for turn in (FIRST, SECOND))


def _turn(spec: Spec, colour: Colour, turn: str) -> str:
    return f"{backend.name(spec.service, colour)}.{turn}"
