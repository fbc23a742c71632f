"""The entry of an address, as text: which service, which side, and the line that tells what became of a request.

The side is drawn in the frontend: roll < share in force → candidate. Everything that changes while a rollout goes on
stands in one map value per service (`state`), so that a change is one write and is never seen torn.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

from deployer.drivers.traffic.haproxy.claims import Entry
from deployer.drivers.traffic.haproxy.home import Home
from deployer.drivers.traffic.haproxy.quote import milliseconds, word
from deployer.drivers.traffic.haproxy.spec import Spec

RING = "deployer-requests"
PREVIEW_HEADER = "x-deployer-preview"
# service, side drawn, stable colour, share in force, source, status, termination, retries, microseconds to the answer
HTTP_LINE = (
    "%[var(txn.svc)] %[var(txn.side)] %[var(txn.stable)] %[var(txn.share)] %[var(txn.src)] %ST %ts %rc %[var(txn.us)]"
)
TCP_LINE = "%[var(sess.svc)] %[var(sess.side)] %[var(sess.stable)] %[var(sess.share)] %[var(sess.src)] tcp %ts %rc %Tc"
UNLESS_FOUND = "if !{ var(txn.svc) -m found }"


def label(entry: Entry) -> str:
    """Give the name of the frontend."""
    host = "any" if entry.listen.any else entry.listen.host.replace(".", "_").replace(":", "_")
    family = "6" if ":" in entry.listen.host else ""
    return f"deployer_{entry.kind}{family}_{host}_{entry.listen.port}"


def route_map(entry: Entry, home: Home) -> str:
    """Give the path of the map from name and path to service."""
    return str(home.maps / f"{label(entry)}.map")


def certificates(entry: Entry, home: Home) -> str:
    """Give the path of the list of certificates."""
    return str(home.maps / f"{label(entry)}.crt-list")


def options_map(home: Home) -> str:
    """Give the path of the map from service to its options at the entry."""
    return str(home.maps / "options.map")


def option_values(spec: Spec) -> str:
    """Write the options of a service: sticky, header and cookie that force a side, whether networks do."""
    force = spec.entry.force
    header = force.header.lower() if force.header else "-"
    return f"{int(spec.entry.sticky)}|{header}|{force.cookie or '-'}|{spec.service if force.networks else '-'}"


def frontend(entry: Entry, home: Home) -> Iterator[str]:
    """Give the lines of the frontend."""
    yield f"frontend {label(entry)} from deployer-{'tcp' if entry.kind == 'tcp' else 'http'}"
    tls = ""
    if entry.kind == "https":
        tls = f" ssl crt-list {certificates(entry, home)} alpn h2,http/1.1 ssl-min-ver TLSv1.2"
    yield f"  bind {entry.listen.address}{tls}"
    # Services that share an address share the limit for silent clients: the longest one.
    yield f"  timeout client {milliseconds(max(s.entry.timeouts.client for s in entry.specs))}"
    yield f"  log ring@{RING} format raw local0"
    yield from _tcp(entry.specs[0], home) if entry.kind == "tcp" else _http(entry, home)


def _http(entry: Entry, home: Home) -> Iterator[str]:
    yield f'  log-format "{HTTP_LINE}"'
    yield "  http-request set-var(txn.t0) date(0,us)"
    # Up to the headers of the answer: a WebSocket or a slow client says nothing about the release.
    yield "  http-after-response set-var(txn.us) date(0,us),sub(txn.t0)"
    yield from _which_service(entry, home)
    yield from _live("http-request", "txn", "var(txn.svc)", home)
    if any(s.entry.sticky for s in entry.specs):
        yield from _sticky(entry)
    yield "  http-request set-var(txn.roll) rand(10000) if !{ var(txn.roll) -m found }"
    yield "  http-request set-var(txn.src) str(split)"
    yield "  http-request set-var(txn.side) var(txn.stable)"
    yield "  http-request set-var(txn.side) var(txn.candidate) if { var(txn.roll),sub(txn.share) lt 0 }"
    yield from _forced(entry)
    yield "  http-request set-var(txn.src) str(preview) if { var(txn.preview) -m bool }"
    yield "  http-request set-var(txn.side) var(txn.candidate) if { var(txn.preview) -m bool }"
    if any(s.entry.sticky for s in entry.specs):
        yield from _give_cookie(entry)
    yield "  use_backend %[var(txn.svc)]_%[var(txn.side)]"


def _which_service(entry: Entry, home: Home) -> Iterator[str]:
    """Look for name and path, then for `*.domain` (one label, as in certificates), then for services without a name.

    Both key and request end in a slash, and the longest key wins: /api is found for /api and /api/x, not for /apix.
    """
    routes = route_map(entry, home)
    yield '  http-request set-var-fmt(txn.where) "%[req.hdr(host),host_only,lower,rtrim(.)]%[path]/"'
    yield f"  http-request set-var(txn.svc) var(txn.where),map_beg({routes})"
    other_keys = (
        ("^[^./]*", any(d.startswith("*.") for s in entry.specs for d in s.entry.domains)),
        ("^[^/]*", any(not s.entry.domains for s in entry.specs)),
    )
    for pattern, wanted in other_keys:
        if wanted:
            key = f'var(txn.where),regsub("{pattern}","*"),map_beg({routes})'
            yield f"  http-request set-var(txn.svc) '{key}' {UNLESS_FOUND}"
    # The preview route names its service, so that it works whatever names and paths the service has.
    yield (
        f"  http-request set-var(txn.preview) bool(true)"
        f" if {{ req.hdr({PREVIEW_HEADER}),field(1,.) -m str -f {home.token} }}"
    )
    yield f"  http-request set-var(txn.svc) req.hdr({PREVIEW_HEADER}),field(2,.) if {{ var(txn.preview) -m bool }}"
    yield f"  http-request del-header {PREVIEW_HEADER}"
    yield f"  http-request set-var(txn.opt) var(txn.svc),map_str({options_map(home)})"
    yield (
        '  http-request return status 404 content-type text/plain string "no such service"'
        " unless { var(txn.opt) -m found }"
    )


def _live(rule: str, scope: str, service: str, home: Home) -> Iterator[str]:
    """Take the live value apart; a share whose lease is over is none."""
    value = f"var({scope}.state)"
    yield f"  {rule} set-var({scope}.state) {service},map_str({home.state})"
    yield f"  {rule} set-var({scope}.stable) '{value},field(1,\",\")'"
    yield f"  {rule} set-var({scope}.candidate) str(green)"
    yield f"  {rule} set-var({scope}.candidate) str(blue) if {{ var({scope}.stable) -m str green }}"
    yield f"  {rule} set-var({scope}.share) '{value},field(2,\",\"),add(0)'"
    yield f"  {rule} set-var({scope}.lease) '{value},field(3,\",\"),add(0)'"
    yield f"  {rule} set-var({scope}.rollout) '{value},field(4,\",\")'"
    yield f"  {rule} set-var({scope}.now) date"
    leased = f"{{ var({scope}.lease) -m int gt 0 }}"
    over = f"{{ var({scope}.lease),sub({scope}.now) -m int le 0 }}"
    yield f"  {rule} set-var({scope}.share) int(0) if {leased} {over}"


def _sticky(entry: Entry) -> Iterator[str]:
    """Take the roll of the client's cookie, if it is of this rollout; else draw one and remember to give the cookie."""
    # A cookie's name cannot be computed in a rule, hence one rule for each sticky service.
    for spec in (s for s in entry.specs if s.entry.sticky):
        yield (
            f"  http-request set-var(txn.cookie) req.cook({cookie(spec)})"
            f" if {{ var(txn.svc) -m str {spec.service} }} {{ var(txn.share) -m int gt 0 }}"
        )
    yield (
        "  http-request set-var(txn.roll) var(txn.cookie),field(2,.),add(0)"
        " if { var(txn.cookie) -m reg ^[0-9]{1,10}\\.[0-9]{1,4}$ }"
        " { var(txn.cookie),field(1,.),strcmp(txn.rollout) eq 0 }"
    )
    yield (
        "  http-request set-var(txn.new) bool(true)"
        " if { var(txn.share) -m int gt 0 } { var(txn.opt) -m beg 1 } !{ var(txn.roll) -m found }"
    )


def cookie(spec: Spec) -> str:
    """Give the name of the cookie that keeps a client on its side."""
    return f"deployer-{word(spec.service)}"


def _give_cookie(entry: Entry) -> Iterator[str]:
    yield "  http-request unset-var(txn.new) if !{ var(txn.src) -m str split }"
    value = "deployer-%[var(txn.svc)]=%[var(txn.rollout)].%[var(txn.roll)]; Path=/; HttpOnly; SameSite=Lax"
    secure = "; Secure" if entry.kind == "https" else ""
    yield f'  http-after-response add-header Set-Cookie "{value}{secure}" if {{ var(txn.new) -m bool }}'


def _forced(entry: Entry) -> Iterator[str]:
    """Let chosen requests choose their side; a header weighs more than a cookie, a cookie more than a network.

    A candidate without a server that is up is not chosen: it is gone, or not yet there.
    """
    forces = [s.entry.force for s in entry.specs]
    if not any(f.header or f.cookie or f.networks for f in forces):
        return
    for spec in (s for s in entry.specs if s.entry.force.networks):
        # Only while users are let in: after a promotion the other side is the old release, kept warm.
        yield (
            f"  http-request set-var(txn.want) str(candidate) if {{ var(txn.opt),field(4,|) -m str {spec.service} }}"
            f" {{ var(txn.share) -m int gt 0 }} {{ src {networks(spec)} }}"
        )
    for field, fetch, names in (
        (3, "req.cook", {f.cookie for f in forces if f.cookie}),
        (2, "req.hdr", {f.header.lower() for f in forces if f.header}),
    ):
        for name in sorted(map(word, names)):
            yield (
                f"  http-request set-var(txn.want) {fetch}({name}) if {{ var(txn.opt),field({field},|) -m str {name} }}"
                f" {{ {fetch}({name}) -m str stable candidate }}"
            )
    yield "  http-request set-var(txn.src) str(forced) if { var(txn.want) -m found }"
    yield "  http-request set-var(txn.side) var(txn.stable) if { var(txn.want) -m found }"
    yield '  http-request set-var-fmt(txn.trial) "%[var(txn.svc)]_%[var(txn.candidate)]"'
    yield (
        "  http-request set-var(txn.side) var(txn.candidate)"
        " if { var(txn.want) -m str candidate } { var(txn.trial),nbsrv gt 0 }"
    )


def networks(spec: Spec) -> str:
    """Give the networks whose clients get the candidate."""
    return " ".join(_network(n) for n in spec.entry.force.networks)


def _network(text: str) -> str:
    return str(ipaddress.ip_network(text, strict=False))


def _tcp(spec: Spec, home: Home) -> Iterator[str]:
    """A connection has no cookie; a sticky one is known by a hash of its source, salted by the rollout."""
    rule = "tcp-request content"
    # The line comes once the server has answered the connection, not when a session of hours ends.
    yield "  option logasap"
    yield f'  log-format "{TCP_LINE}"'
    yield f"  {rule} set-var(sess.svc) str({word(spec.service)})"
    yield from _live(rule, "sess", "var(sess.svc)", home)
    if spec.entry.sticky:
        yield f"  {rule} set-var(sess.from) src"
        # xxh32 is unsigned; a 64-bit hash would give negative remainders, and those are below every share.
        yield f"  {rule} set-var(sess.roll) var(sess.from),concat(:,sess.rollout),xxh32,mod(10000)"
    else:
        yield f"  {rule} set-var(sess.roll) rand(10000)"
    yield f"  {rule} set-var(sess.src) str(split)"
    yield f"  {rule} set-var(sess.side) var(sess.stable)"
    yield f"  {rule} set-var(sess.side) var(sess.candidate) if {{ var(sess.roll),sub(sess.share) lt 0 }}"
    if spec.entry.force.networks:
        among = f"{{ var(sess.share) -m int gt 0 }} {{ src {networks(spec)} }}"
        yield f"  {rule} set-var(sess.src) str(forced) if {among}"
        yield f"  {rule} set-var(sess.side) var(sess.candidate) if {among}"
    yield f"  use_backend {word(spec.service)}_%[var(sess.side)]"


def route_lines(routes: Iterable[tuple[str, str]]) -> str:
    """Write the route map of an entry."""
    return "".join(f"{word(key)} {service}\n" for key, service in sorted(routes))
