"""The waker of a service that sleeps while nobody comes, as text: the last server of its backend.

It is a process beside the proxy (`drivers.sleeping`) that listens on a socket for each such backend. While the service
sleeps all of its instances are out of rotation, so the first request goes to the waker, which starts the instance, puts
it into rotation and passes on what it got itself; those that came later leave the queue of the backend by themselves.
While it is awake the waker is disabled, and no request passes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from deployer.drivers.traffic.haproxy.naming import WAKER, last_request
from deployer.drivers.traffic.haproxy.quote import milliseconds, quoted
from deployer.model import COLOURS, Colour

if TYPE_CHECKING:
    from deployer.drivers.traffic.haproxy.layout import Home
    from deployer.drivers.traffic.haproxy.spec import BackendSide, Spec

CONTROL = "waker control"  # the socket by which the process is asked to look
LAST = 2**31 - 1  # the highest id: `balance first` comes to it when all instances are full
# Requests that it passes on itself. One would be enough to wake a service; but what waits while the proxy is reloaded
# can only go through here.
AT_ONCE = 32
QUEUE = 1000  # requests that may wait for a service to wake: each has a connection and up to 16 KiB
RETRY = 5  # seconds, in the proxy's own answers


def listens(spec: Spec) -> Iterator[tuple[str, Colour]]:
    """Return the sockets of the waker for a service, by their names, and the places behind them."""
    for colour in COLOURS:
        if spec.side(colour).starter:
            yield socket(spec.service, colour), colour


def socket(service: str, colour: Colour) -> str:
    """Return the name of the socket by which the proxy reaches the waker of a backend."""
    return f"{WAKER} {service} {colour}"


def sockets(specs: Iterable[Spec]) -> tuple[str, ...]:
    """Return the names of all sockets of the waker."""
    found = tuple(name for spec in specs for name, _ in listens(spec))
    return (*found, CONTROL) if found else ()


def is_waker(line: str) -> bool:
    """Return whether a line of a backend is that of the waker: it is enabled and disabled without a reload."""
    return line.startswith(f"  server {WAKER} ")


def server(spec: Spec, colour: Colour, home: Home) -> Iterator[str]:
    """Return the line of the waker."""
    side = spec.side(colour)
    awake = "" if side.asleep else " disabled"
    address = home.inside.server(socket(spec.service, colour))
    spoken = " proto h2" if side.protocol == "h2" else ""
    # A connection that is kept would lead to the instance that it was opened for.
    yield f"  server {WAKER} {address} id {LAST} maxconn {AT_ONCE} pool-max-conn 0{spoken}{awake}"


def rules(spec: Spec, side: BackendSide, backend: str) -> Iterator[str]:
    """Return what is done to requests while the service sleeps: they may wait, if not too many, or do not wake it."""
    if spec.entry.mode != "http":
        yield f"  tcp-request content reject if {_sleeps(backend)} {{ be_conn({backend}) gt {QUEUE} }}"
        return
    # By this the proxy says when to come again, whatever became of a request: no time to wait, or no room.
    said = quoted("no instance is ready")
    yield f"  http-error status 503 content-type text/plain string {said} hdr Retry-After {RETRY}"
    if side.ignored:  # the others are counted apart, as by the time of the last one
        counts = " ".join(f"!{ignored(each)}" for each in side.ignored)
        yield f"  http-request set-var({last_request(backend)}) date(0,us) if {counts}"
    for each in side.ignored:
        yield f"  http-request deny deny_status 503 if {_sleeps(backend)} {ignored(each)}"
    yield f"  http-request deny deny_status 503 if {_sleeps(backend)} {{ be_conn({backend}) gt {QUEUE} }}"
    patience = side.wait + side.timeouts.response
    yield f"  http-request set-timeout server {milliseconds(patience)} if {_sleeps(backend)}"


def ignored(each: str) -> str:
    """Return the condition of a request that wakes nobody: of a path, or of a user agent."""
    if each.startswith("/"):
        return f"{{ path -m dir {quoted(each)} }}"
    return f"{{ req.hdr(user-agent) -i -m sub {quoted(each)} }}"


def _sleeps(backend: str) -> str:
    return f"{{ srv_is_up({backend}/{WAKER}) }}"
