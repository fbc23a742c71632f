"""The backend of one colour, as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from deployer.drivers.traffic.haproxy import affinity, chain, naming, waker
from deployer.drivers.traffic.haproxy.naming import BESIDE, NO_INSTANCES, WAIT
from deployer.drivers.traffic.haproxy.quote import milliseconds, quoted, word
from deployer.drivers.traffic.haproxy.rules import GONE
from deployer.model import Place, other

if TYPE_CHECKING:
    from deployer.drivers.traffic.haproxy.layout import Home
    from deployer.drivers.traffic.haproxy.spec import BackendServer, BackendSide, Spec

# A connection error makes the next check come at once and lets one failure decide: a dead server is out after about
# 100 ms, and until then its requests are redispatched. `on-error mark-down` would be faster, but one slow connect would
# take the last server of a backend away although its checks pass, and a worker that a reload replaced runs no checks
# any more: what it marks down never comes back.
CHECK = (
    # A new server is first checked after `downinter`: its release waits for that.
    "check inter 1s fastinter 100ms downinter 100ms fall 2 rise 2"
    " observe layer4 error-limit 1 on-error sudden-death"
    # 2.8 forgets a server only once its pooled connections are gone; idle ones go within a second or two.
    " pool-purge-delay 500ms"
)
# Where all instances of a release are gone for a moment, say because the engine that forwards their ports begins again
# or the only one does, requests wait for them: HAProxy lets a second pass before it tries again whoever was refused a
# connection, and then chooses again. So there is a last server that refuses everyone; only root could listen there.
WAITING = 1000  # requests of a service that may wait; the proxy has to have room for other services
# Where it is the last, more connections are free than instances ever have room for: by that `alive` knows it.
ROOM = 10**9
WAIT_SERVER = f"server {WAIT} 127.0.0.1:1 backup maxconn {ROOM}"
# A side without an instance gives the requests that it got to the other side, by way of the internal entry (`shield`):
# which side a request gets is decided by rules that are the same for all services, and who is up only a backend knows.
FIRST, SECOND = "first", "second"  # the ways into it, beside `BESIDE`
TO, OTHER = "x-deployer-to", "x-deployer-other"  # the backend behind it, and that of the second way
# Idle connections to the internal entry go after a second, long before it would close them itself.
INSIDE = "pool-purge-delay 500ms"
_OWN_SERVERS = (*NO_INSTANCES, FIRST, SECOND)
# Repeating a request is safe only for these.
RETRIES = 6  # of `render.SHARED`: as many seconds as requests wait; an engine on a busy host was seen to need three
SHIELD_PART, SHIELD_MOST = 3, 30.0  # of the time of a response, and seconds, until stable answers instead
IDEMPOTENT = "GET HEAD OPTIONS PUT DELETE TRACE"
# No worker knows a preview request but by this.
PREVIEWED = "{ var(txn.preview) -m bool }"
# It comes from another backend, where these rules were followed already.
BEHIND = "{ var(txn.turn) -m found }"


def alive(backend: str) -> str:
    """A condition: an instance of the backend is up. `nbsrv` counts the server that refuses everyone, too."""
    # As many connections are free as instances have room for; without a limit, that is -1.
    return f"{{ be_conn_free({backend}) lt {ROOM // 2} }}"


def server_options(spec: Spec, place: Place, name: str) -> str:
    """Return the options of a server, the same in the file and at run time (`add server` takes no defaults)."""
    side = spec.side(place)
    most = f" maxconn {side.concurrency}" if side.concurrency else ""
    return options(side) + most + affinity.server(spec, place, name)


def options(side: BackendSide) -> str:
    """Return the options that all servers of a side have, and that do not change while they are there."""
    return CHECK + (" proto h2" if side.protocol == "h2" else "")


def defaults(spec: Spec, place: Place) -> tuple[str, ...]:
    """Return the lines of the backend that are the same for other services with the same settings."""
    side = spec.side(place)
    lines = [
        f"  timeout connect {milliseconds(side.timeouts.connect)}",
        f"  timeout server {milliseconds(side.timeouts.response)}",
        f"  timeout tunnel {milliseconds(side.timeouts.tunnel)}",
        f"  timeout check {milliseconds(side.health.timeout)}",
        f"  timeout queue {milliseconds(side.wait)}",
    ]
    if spec.entry.mode == "http":
        if side.retry == "answers":  # to repeat what was sent, HAProxy copies each request first
            lines.append("  retry-on conn-failure empty-response")
            lines.append(f"  http-request disable-l7-retry unless {{ method {IDEMPOTENT} }}")
        lines += rules(spec)
    return (*affinity.balance(spec, side), *lines, *_check(spec, side))


def backend(spec: Spec, place: Place, home: Home) -> Iterator[str]:
    """Yield the other lines of the backend."""
    side = spec.side(place)
    beside = (
        None if place == "baseline" else naming.backend(spec.service, other(place))
    )  # who finds no baseline is not sent there
    if side.starter:
        yield from waker.rules(spec, side, naming.backend(spec.service, place))
    if spec.entry.mode == "http":
        if beside:
            yield from _shielded(spec, side, beside)
        if side.keeps_instance:
            yield from affinity.cookie(spec, place)
    for member in side.members:
        yield f"  {_server(spec, place, member)}"
    if side.starter and place != "baseline":
        yield from waker.server(spec, place, home)
    if beside:
        if spec.entry.mode == "http":
            yield from _beside(spec, naming.backend(spec.service, place), beside, home)
        yield from _wait(spec, naming.backend(spec.service, place), beside)


def is_member(line: str) -> bool:
    """Return whether a line of a backend is that of an instance, or of the waker: they change without a reload."""
    ours = tuple(f"  server {each} " for each in _OWN_SERVERS)
    return line.startswith("  server ") and (waker.is_waker(line) or not line.startswith(ours))


def _server(spec: Spec, place: Place, member: BackendServer) -> str:
    # A server that was leaving when the proxy went down must not come back with it.
    leaving = " disabled" if member.leaving else ""
    return f"server {word(member.name)} {word(member.address)} {server_options(spec, place, member.name)}{leaving}"


def _beside(spec: Spec, backend: str, beside: str, home: Home) -> Iterator[str]:
    """Yield the rules that move to stable who drew or chose a candidate without instances; who drew counts against it.

    Nothing was sent, so that is safe for every method. Where stable has none either, those who were drawn wait for the
    candidate. Who has no other side has nothing to wait for, and is told so: a preview, and a first try of the shield.
    """
    yield f"  http-request allow if {alive(backend)}"
    previewed = "{ var(txn.how) -m str preview }"
    for only in (previewed, f"{{ var(txn.turn) -m str {FIRST} }}"):
        yield f"  http-request deny deny_status 503 if {only} {alive(beside)}"
    drawn = f"{{ var(txn.side) -m found }} !{previewed} {alive(beside)}"
    yield f"  http-request set-var(txn.beside) bool(true) if {drawn} or {{ var(txn.how) -m str forced }}"
    moved = "{ var(txn.beside) -m found }"
    yield f"  http-request set-var(txn.how) str({GONE}) if {moved} !{{ var(txn.how) -m found }}"
    yield f"  http-request set-header {TO} {beside} if {moved}"
    yield from chain.spare(spec, moved)
    yield f"  use-server {BESIDE} if {moved}"
    # Nobody draws a server of weight 0.
    yield f"  server {BESIDE} {home.inside.server(BESIDE)} weight 0 {INSIDE}"


def _wait(spec: Spec, backend: str, beside: str) -> Iterator[str]:
    """Let those wait who have nobody else; of a tcp service, who chose a candidate that alone is gone is told so."""
    full = f"{{ be_conn({backend}) gt {WAITING} }} !{alive(backend)}"
    if spec.entry.mode == "http":
        yield f"  http-request deny deny_status 503 if {full} !{{ var(txn.beside) -m found }}"
    else:
        gone = f"{{ var(sess.side) -m found }} !{alive(backend)} {alive(beside)}"
        yield f"  tcp-request content reject if {gone}"
        yield f"  tcp-request content reject if {full}"
    yield f"  {WAIT_SERVER}"


def _shielded(spec: Spec, side: BackendSide, beside: str) -> Iterator[str]:
    """Yield the rule that leaves stable its turn in time, where it has an instance."""
    shield = spec.entry.shield
    if shield:
        limit = shield.timeout or min(SHIELD_MOST, side.timeouts.response / SHIELD_PART)
        if limit < side.timeouts.response:
            first = f"{{ var(txn.turn) -m str {FIRST} }} {alive(beside)}"
            yield f"  http-request set-timeout server {milliseconds(limit)} if {first}"


def rules(spec: Spec) -> Iterator[str]:
    """Yield what is done to each request and answer; doing it in the shield and again behind it changes nothing."""
    entry = spec.entry
    if entry.tls and entry.tls.redirect:
        from deployer.drivers.traffic.haproxy.listeners import Listen

        port = Listen.parse(entry.tls.listen).port
        host = "%[req.hdr(host),host_only]" + (f":{port}" if port != 443 else "")
        plain = f"!{{ ssl_fc }} !{PREVIEWED} !{BEHIND}"
        # The answer over plain HTTP carries no cookie: it is given with the first answer over TLS.
        yield f"  http-request unset-var(txn.new) if {plain}"
        yield f'  http-request redirect location "https://{host}%[pathq]" code 308 if {plain}'
    if entry.tls and entry.tls.hsts is not None:
        seconds = round(entry.tls.hsts)
        yield f'  http-response set-header Strict-Transport-Security "max-age={seconds}" if {{ ssl_fc }}'
    if entry.forwarded:
        yield from _forwarded(spec)


def _forwarded(spec: Spec) -> Iterator[str]:
    """Yield the rules that tell the instance who asked; what the client said about that is a claim, and goes."""
    yield "  http-request del-header x-forwarded -m beg"
    yield "  http-request del-header x_forwarded -m beg"  # the same name to applications by CGI's rules
    yield "  http-request del-header forwarded"
    yield '  http-request set-header X-Forwarded-For "%[src]"'
    yield '  http-request set-header X-Forwarded-Host "%[req.hdr(host)]"'
    yield "  http-request set-header X-Forwarded-Proto http"
    if spec.entry.tls:
        yield "  http-request set-header X-Forwarded-Proto https if { ssl_fc }"
        # Smoke tests come over loopback, without TLS, and must see what users will see.
        yield f"  http-request set-header X-Forwarded-Proto https if {PREVIEWED}"
        yield "  http-request set-header X-Forwarded-Proto https if { var(txn.tls) -m bool }"


def _check(spec: Spec, side: BackendSide) -> Iterator[str]:
    """Yield the proxy's own check. It looks at the status alone: the gate before it has asked for body and headers."""
    health = side.health
    if spec.entry.mode != "http" or health.http is None:
        return
    yield "  option httpchk"
    host = f" hdr Host {quoted(health.host)}" if health.host else ' hdr Host "localhost"'
    yield f"  http-check send meth GET uri {quoted(health.http)} ver HTTP/1.1{host}"
    yield f"  http-check expect status {word(health.status)}"
