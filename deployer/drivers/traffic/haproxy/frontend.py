"""The entry of an address, as text: which service, which side (`sides`), and the line that tells what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from deployer.drivers.traffic.haproxy import certificates, chain, listeners, routing_rules
from deployer.drivers.traffic.haproxy.layout import Home
from deployer.drivers.traffic.haproxy.listeners import Listener
from deployer.drivers.traffic.haproxy.quote import milliseconds, word
from deployer.drivers.traffic.haproxy.rules import HTTP, TCP, listed
from deployer.drivers.traffic.haproxy.shield import SUFFIX, TIME_HEADER
from deployer.drivers.traffic.haproxy.spec import Spec

RING = "deployer-requests"
PREVIEW_HEADER = "x-deployer-preview"
# What is said of a request; `tally` reads it. First what has few values: service, side (else stable), live value, how,
# number of the route, status, termination, retries. Then the client's roll, if it keeps its side, and while there is a
# share its address in hex digits, or a number for it, and in a chain whether it carries a side; the time to the answer
# in microseconds, and, while there is a share, the bytes of the answer's headers and of all of it. What a request has
# not is a dash.
HTTP_LINE = (
    "%[var(txn.svc)] %[var(txn.side)] %[var(txn.state)] %[var(txn.how)] {route} %ST %ts %rc"
    " {roll} %[var(txn.us)] %[var(txn.head)] %B"
)
TCP_LINE = (
    "%[var(sess.svc)] %[var(sess.side)] %[var(sess.state)] %[var(sess.how)] - tcp %ts %rc"
    " %[var(sess.roll)],%[var(sess.addr)] %Tc - -"
)
# A path that may be written in another way, too: repeated slashes, dot segments, escapes.
ODD = "{ path -m sub % // /. }"
UNLESS_FOUND = "if !{ var(txn.svc) -m found }"


def label(entry: Listener) -> str:
    """Return the name of the frontend."""
    host = "any" if entry.listen.any else entry.listen.host.replace(".", "_").replace(":", "_")
    family = "6" if ":" in entry.listen.host else ""
    return f"deployer_{entry.kind}{family}_{host}_{entry.listen.port}"


def route_map(entry: Listener, home: Home) -> str:
    """Return the path of the map from name and path to service."""
    return str(home.maps / f"{label(entry)}.map")


def certificate_list(entry: Listener, home: Home) -> str:
    """Return the path of the list of certificates."""
    return str(home.maps / f"{label(entry)}.crt-list")


def options_map(home: Home) -> str:
    """Return the path of the map from service to its options at the entry."""
    return str(home.options)


def option_values(spec: Spec) -> str:
    """Write the options of a service, which rules that are the same for all of them look at (`routing_rules`).

    Whether it is sticky, header and cookie that force a side, methods that are shielded, statuses that are counted,
    networks that are forced, proxies that are trusted, whether a client keeps its instance, what it is in its chain.
    """
    entry = spec.entry
    header = entry.force.header.lower() if entry.force.header else "-"
    values = (
        str(int(entry.sticky)),
        header,
        entry.force.cookie or "-",
        routing_rules.shielded(spec),
        routing_rules.counted(spec),
        listed(entry.force.networks),
        listed(entry.trusted_proxies),
        str(int(spec.keeps_instance)),
        *filter(None, (chain.role(spec),)),
    )
    return "|".join(values)


def frontend(entry: Listener, home: Home) -> Iterator[str]:
    """Yield the lines of the frontend."""
    yield f"frontend {label(entry)} from deployer-{'tcp' if entry.kind == 'tcp' else 'http'}"
    tls = ""
    if entry.kind == "https":
        tls = f" ssl crt-list {certificate_list(entry, home)} alpn h2,http/1.1 ssl-min-ver TLSv1.2"
    yield f"  bind {entry.listen.address}{tls}"
    # Services that share an address share the limit for silent clients: the longest one.
    yield f"  timeout client {milliseconds(max(s.entry.timeouts.client for s in entry.specs))}"
    yield f"  log ring@{RING} format raw local0"
    yield from _tcp(entry.specs[0], home) if entry.kind == "tcp" else _http(entry, home)


def by_path(entry: Listener) -> bool:
    """Return whether a path decides something at the address."""
    return any(s.entry.routes or s.entry.path != "/" for s in entry.specs)


def _http(entry: Listener, home: Home) -> Iterator[str]:
    routes = any(s.entry.routes for s in entry.specs)
    rolls, carried = any(s.entry.sticky for s in entry.specs), chain.follows(entry.specs)
    line = HTTP_LINE.format(
        route="%[var(txn.route)]" if routes else "-",
        roll=("%[var(txn.roll)]" if rolls or carried else "-")
        + ",%[var(txn.addr)]"
        + (",%[var(txn.carried)]" if carried else ""),
    )
    yield f'  log-format "{line}"'
    if entry.kind == "http" and any(map(certificates.is_auto, entry.specs)):
        yield _challenge(home)
    yield f"  http-after-response allow if !{HTTP.has('t0')}"  # nobody is told of it
    # Up to the headers of the answer: a WebSocket or a slow client says nothing about the release.
    yield "  http-after-response set-var(txn.us) date(0,us),sub(txn.t0)"
    # As they came: the bytes of a response are counted before the rules of this proxy.
    yield f"  http-after-response set-var(txn.head) res.hdrs,length if {HTTP.shared()}"
    if not any(s.entry.sticky for s in entry.specs):  # else the response may carry a cookie
        yield f"  http-after-response allow if !{HTTP.has('side')}"
    if any(s.entry.shield for s in entry.specs):
        shielded = "{ var(txn.how) -m str shield }"
        behind = f"{{ res.hdr({TIME_HEADER}) -m found }}"
        yield f"  http-after-response set-var(txn.us) res.hdr({TIME_HEADER}) if {shielded} {behind}"
        # %B counts this header without what stands between its parts: a colon, a blank, and the end of the line.
        yield f"  http-after-response set-var(txn.head) var(txn.head),sub(4) if {shielded} {behind} {HTTP.shared()}"
        yield f"  http-after-response del-header {TIME_HEADER} if {shielded}"
    # An instance that took the offer would let whoever made it speak past every rule of this proxy.
    yield "  http-request del-header upgrade if { req.hdr(upgrade) -m sub -i h2c }"
    yield from _which_service(entry, home, by_path=by_path(entry))
    yield from routing_rules.calm(entry, home)
    yield from routing_rules.http(entry, home)
    yield f"  use_backend \"%[var(txn.svc)]_%[var(txn.state),field(1,',')]\" if !{HTTP.has('side')}"
    if any(s.entry.shield for s in entry.specs):
        yield f"  use_backend %[var(txn.svc)]_%[var(txn.side)]{SUFFIX} if {{ var(txn.how) -m str shield }}"
    yield "  use_backend %[var(txn.svc)]_%[var(txn.side)]"


def _challenge(home: Home) -> str:
    """Answer an ACME authority (HTTP-01) for domains of ours: the token and the account's thumbprint (RFC 8555, 8.3).

    No token is ever sent to a proxy, so that any number of them can answer. Nobody but the holder of the account's key
    can make use of it. Domains that are not in the map have their requests answered by their application.
    """
    domain = f"req.hdr(host),host_only,lower,rtrim(.),map_str({home.accounts})"
    return (
        "  http-request return status 200 content-type text/plain"
        f' lf-string "%[path,field(-1,/)].%[{domain}]" hdr X-Content-Type-Options nosniff'
        " if { path_beg /.well-known/acme-challenge/ }"
        " { path_reg ^/\\.well-known/acme-challenge/[A-Za-z0-9_-]{1,128}$ }"
        f" {{ {domain} -m found }}"
    )


def _path() -> Iterator[str]:
    """Read the path in the one form that rules look at, where a path decides something; instances get it as it came.

    An application may take each of its forms for the same. What cannot be decoded, or has a segment `..`, could mean
    another path to the application than here, and is refused.
    """
    yield f"  http-request set-var(txn.path) path if !{ODD}"
    yield f'  http-request set-var(txn.path) \'path,url_dec,regsub("/([.]?/)+","/",g)\' if {ODD}'
    yield f"  http-request deny deny_status 400 if {ODD} !{{ var(txn.path) -m found }}"
    yield f"  http-request deny deny_status 400 if {ODD} {{ var(txn.path) -m reg '/[.][.](/|$)|[\\x00]' }}"


def _which_service(entry: Listener, home: Home, *, by_path: bool) -> Iterator[str]:
    """Look for name and path, then for `*.domain` (one label, as in certificates), then for services without a name.

    Both key and request end in a slash, and the longest key wins: /api is found for /api and /api/x, not for /apix.
    """
    wildcard = any(d.startswith("*.") for s in entry.specs for d in s.entry.domains)
    unnamed = any(not s.entry.domains for s in entry.specs)
    host, look_up = "req.hdr(host),host_only,lower,rtrim(.)", f"map_str({route_map(entry, home)})"
    keys = [host] + [f'{host},regsub("^[^.]*","*")'] * wildcard + ["str(*)"] * unnamed
    if by_path:
        yield from _path()
        yield f'  http-request set-var-fmt(txn.where) "%[{host}]%[var(txn.path)]/"'
        where, look_up = "var(txn.where)", f"map_beg({route_map(entry, home)})"
        keys = [where] + [f'{where},regsub("^[^./]*","*")'] * wildcard + [f'{where},regsub("^[^/]*","*")'] * unnamed
    for key in keys:
        yield f"  http-request set-var(txn.svc) '{key},{look_up}'" + (f" {UNLESS_FOUND}" if key != keys[0] else "")
    # The preview route names its service, so that it works whatever names and paths the service has.
    yield (
        f"  http-request set-var(txn.preview) bool(true)"
        f" if {{ req.hdr({PREVIEW_HEADER}),field(1,.) -m str -f {home.token} }}"
    )
    yield f"  http-request set-var(txn.svc) req.hdr({PREVIEW_HEADER}),field(2,.) if {{ var(txn.preview) -m bool }}"
    yield f"  http-request del-header {PREVIEW_HEADER}"
    yield f"{routing_rules.UNKNOWN} unless {HTTP.has('svc')}"


def _tcp(spec: Spec, home: Home) -> Iterator[str]:
    # The line comes once the server has answered the connection, not when a session of hours ends.
    yield "  option logasap"
    yield f'  log-format "{TCP_LINE}"'
    yield f"  tcp-request content set-var(sess.svc) str({word(spec.service)})"
    yield from routing_rules.tcp(spec, home)
    there = f"{TCP.has('side')} !{TCP.is_gone()}"
    yield f"  use_backend {word(spec.service)}_%[var(sess.side)] if {there}"
    yield f"  use_backend \"{word(spec.service)}_%[var(sess.state),field(1,',')]\""


def labels_map(home: Home) -> str:
    """Return the path of the map from service and path to the number of a route that is judged on its own."""
    return str(home.maps / "labels.map")


def label_lines(specs: Iterable[Spec]) -> str:
    """Write that map: the longest key wins, as for `route_map`."""
    keys = {f"{s.service}{prefix.rstrip('/')}/": n for s in specs for n, prefix in enumerate(s.entry.routes)}
    return "".join(f"{word(key)} {number}\n" for key, number in sorted(keys.items()))


def route_lines(entry: Listener) -> str:
    """Write the route map of an entry; where no path decides, keys are names alone."""
    whole = by_path(entry)
    routes = ((key if whole else key.removesuffix("/"), s.service) for s in entry.specs for key in listeners.routes(s))
    return "".join(f"{word(key)} {service}\n" for key, service in sorted(routes))
