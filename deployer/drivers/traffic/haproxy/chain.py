"""One side through a chain of services: the entry draws it, and stamps it onto the request for those behind.

    X-Deployer-Side: candidate.drawn.83112.1000.55120.1764000000.MAC       baggage: deployer-side=…, the same

Side, how it came about (drawn; forced, also of a preview), roll, share in basis points, number of the client's
address, Unix seconds; MAC is HMAC-SHA256 of what is before it, with the key of the chain, cut to 16 bytes as that of
the cookie (`identity`). A service with callers that gets a valid stamp draws with the roll and the share in it, and so
comes to the same side; all that follows (lease, budget, the line for the judge) is as if it had drawn itself. The
number of the address is the client's: at an inner service all requests of one side come from the few addresses of that
release.

    txn.link   the key of the chain            txn.carried   side, or lost: of a service with callers
    txn.stamp  the stamp that is obeyed, then the one that goes to the instance
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from deployer.drivers.traffic.haproxy.quote import word
from deployer.drivers.traffic.haproxy.rules import HTTP

if TYPE_CHECKING:
    from deployer.drivers.traffic.haproxy.layout import Home
    from deployer.drivers.traffic.haproxy.spec import Spec

HEADER, MEMBER = "x-deployer-side", "deployer-side"
BY_CGI = ("x_deployer_side", "x-deployer_side", "x_deployer-side")  # the same name to applications by CGI's rules
SPARE = "x-deployer-spare"  # between two backends of the proxy: the stamp for stable, should it answer instead
VALID = 300  # seconds in which a stamp counts
SIDE, LOST = "side", "lost"  # what a line says of a request that should carry a side
ENTRY, INNER, STRICT = "entry", "inner", "strict"  # a service, as an option: strict draws for nobody
_OPTION = 9
_MAC = "hmac(sha256,txn.link),bytes(0,16),hex"
_SIGNED = 6  # fields of a stamp before its MAC
_CHOSEN = "candidate.forced"
_NAME = f"^{MEMBER}[ \\t]*="  # of our member: HAProxy takes baggage apart at commas
_MEMBER = f"'{_NAME}.*'"
_IN_BAGGAGE = f"{{ req.hdr(baggage) -m reg '{_NAME}' }}"
# What a client may write for it: OpenTelemetry decodes a name, some also a + at its ends.
_LIKE_OURS = f"^([^=%]*%|[+ \\t]*{MEMBER}[+ \\t]*=)"
_STAMPED, _LINKED = HTTP.has("stamp"), HTTP.has("link")


def key_of(secret: str) -> str:
    """Return the key of a chain, in base64 as HAProxy wants it, from its secret in the state database."""
    return base64.b64encode(hashlib.sha256(secret.encode()).digest()).decode()


def role(spec: Spec) -> str:
    """Return what a service is in its chain; "" for one without."""
    chain = spec.entry.chain
    if chain is None or spec.entry.mode != "http":
        return ""
    return (STRICT if chain.without_side == "stable" else INNER) if chain.callers else ENTRY


def chained(specs: Sequence[Spec]) -> bool:
    """Return whether a chain has one of the services."""
    return any(map(role, specs))


def follows(specs: Sequence[Spec]) -> bool:
    """Return whether one of the services has callers."""
    return any(role(spec) in (INNER, STRICT) for spec in specs)


def keys(specs: Sequence[Spec]) -> str:
    """Return the lines of the map of keys, by service; no service has a dot in its name."""
    return "".join(f"{word(s.service)}.chain {s.chain_key}\n" for s in specs if role(s) and s.chain_key)


def _is(*roles: str) -> str:
    return f"{{ {HTTP.var('opt')},field({_OPTION},|) -m str {' '.join(roles)} }}"


def strip(specs: Sequence[Spec], home: Home) -> Iterator[str]:
    """Remove at an entry what a client sent as a side: only the entry's own stamp may reach an instance.

    That is looked for before anything else, as services behind may be in a rollout while the entry is in none.
    """
    if not any(role(spec) == ENTRY for spec in specs):
        return
    here = f"{{ var(txn.svc),map_str({home.options}),field({_OPTION},|) -m str {ENTRY} }}"
    for name in (HEADER, *BY_CGI):
        yield HTTP.line(f"del-header {name}", f"{{ req.hdr({name}) -m found }}", here)
    # No baggage has a quote. HAProxy looks for no comma behind one, but applications do.
    yield HTTP.line("del-header baggage", "{ req.fhdr(baggage) -m sub '\"' }", here)
    like_ours = f"{{ req.hdr(baggage) -m reg '{_LIKE_OURS}' }}"
    yield HTTP.line(f"replace-value baggage '{_LIKE_OURS}.*' {MEMBER}=-", like_ours, here)


def unchosen(specs: Sequence[Spec]) -> tuple[str, ...]:
    """Return conditions: no stamp by which a request may choose its side while no share is open."""
    if not follows(specs):
        return ()
    in_baggage = f"!{{ req.hdr(baggage) -m reg '{_NAME}[ \\t]*{_CHOSEN}' }}"
    return f"!{{ req.hdr({HEADER}) -m beg {_CHOSEN} }}", in_baggage


def read(specs: Sequence[Spec], home: Home) -> Iterator[str]:
    """Yield the rules that read the stamp, and go by its share: before the service's own is looked at."""
    if not chained(specs):
        return
    yield HTTP.put("link", f"var(txn.svc),concat(.chain),map_str({home.keys})", _is(ENTRY, INNER, STRICT))
    if not follows(specs):
        return
    inner = (_LINKED, _is(INNER, STRICT))
    yield HTTP.put("stamp", f"req.hdr({HEADER})", *inner)
    found = f'"^(.*,)?[ \\t]*{MEMBER}[ \\t]*=[ \\t]*([^;, \\t]*).*$","\\2"'
    yield HTTP.put("stamp", f"'req.fhdr(baggage),regsub({found})'", *inner, f"!{_STAMPED}", _IN_BAGGAGE)
    yield HTTP.put("seal", f"var(txn.stamp),field(1,.,{_SIGNED}),{_MAC}", _STAMPED)
    forged = f"!{{ var(txn.stamp),field({_SIGNED + 1},.),secure_memcmp(txn.seal) }}"
    yield HTTP.line("unset-var(txn.stamp)", _STAMPED, forged)
    yield HTTP.put("until", f"var(txn.stamp),field({_SIGNED},.),add({VALID})", _STAMPED)
    yield HTTP.line("unset-var(txn.stamp)", _STAMPED, "{ date,sub(txn.until) gt 0 }")
    yield HTTP.put("carried", f"str({LOST})", *inner)
    yield HTTP.put("carried", f"str({SIDE})", _STAMPED)
    parts = "%[var(txn.state),field(1,',')],%[var(txn.stamp),field(4,.)],%[var(txn.state),field(3,',',0)]"
    yield HTTP.line(f'set-var-fmt(txn.state) "{parts}"', _STAMPED, _drawn(), f"!{HTTP.calm()}")


def _drawn() -> str:
    return "{ var(txn.stamp),field(2,.) -m str drawn }"


def unstamped(specs: Sequence[Spec]) -> tuple[str, ...]:
    """Return conditions: the service has to find out who the client is, as no stamp says it."""
    return (f"!{_STAMPED}",) if follows(specs) else ()


def throw(specs: Sequence[Spec]) -> Iterator[str]:
    """Yield the rules that take roll and address from the stamp; without one, each request is a client of its own."""
    if not follows(specs):
        return
    for name, field in (("roll", 3), ("addr", 5)):
        yield HTTP.put(name, f"var(txn.stamp),field({field},.),add(0)", _STAMPED, _drawn())


def each(specs: Sequence[Spec]) -> Iterator[str]:
    """Yield the rule by which a request to a service with callers has the number thrown for it as roll, if no other."""
    if follows(specs):
        yield HTTP.put("roll", "var(txn.die)", HTTP.has("carried"), f"!{HTTP.has('roll')}", HTTP.has("die"))


def chosen(specs: Sequence[Spec]) -> Iterator[str]:
    """Yield the rules for requests that no coin decided: the entry's client chose, or no side may be drawn here."""
    if not follows(specs):
        return
    chose = (_STAMPED, f"!{_drawn()}")
    unasked = (f"{{ var(txn.carried) -m str {LOST} }}", _is(STRICT))
    for conditions in (chose, unasked):
        yield HTTP.line("unset-var(txn.side)", *conditions)
        yield HTTP.put("how", "str(forced)", *conditions)
    asked = f"{{ var(txn.stamp) -m beg {_CHOSEN} }}"
    yield HTTP.put("warm", f"'{HTTP.value(8)}'", asked)
    yield from HTTP.candidate(asked, "{ var(txn.warm) -m str 0 }")  # a release that is kept warm is no candidate


def stamp(specs: Sequence[Spec]) -> Iterator[str]:
    """Yield the rules that stamp a request with its side, or pass the stamp on that was obeyed."""
    if not chained(specs):
        return
    side, how = HTTP.has("side"), HTTP.has("how")
    candidate = (side, "!{ var(txn.side) -m str baseline }")
    yield HTTP.put("said", "str(stable.drawn)", _LINKED)
    yield HTTP.put("said", "str(candidate.drawn)", _LINKED, *candidate)
    yield HTTP.put("said", "str(stable.forced)", _LINKED, how)
    yield HTTP.put("said", "str(candidate.forced)", _LINKED, how, *candidate)
    yield HTTP.line("unset-var(txn.said)", _STAMPED, "{ var(txn.stamp),field(1,.,2),strcmp(txn.said) eq 0 }")
    yield HTTP.line("unset-var(txn.said)", _STAMPED, f"!{_drawn()}", f"!{HTTP.has('want')}", f"!{HTTP.has('preview')}")
    yield from _sealed("%[var(txn.said)]", HTTP.has("said"))
    yield HTTP.line(f"set-header {HEADER} %[var(txn.stamp)]", _LINKED)
    for name in BY_CGI:
        yield HTTP.line(f"del-header {name}", _LINKED)
    member = f"{MEMBER}=%[var(txn.stamp)]"
    yield HTTP.line(f"replace-value baggage {_MEMBER} {member}", _LINKED, _IN_BAGGAGE)
    there = "{ req.hdr(baggage) -m found }"
    yield HTTP.line(f"replace-header baggage '^(.*)$' \"\\1,{member}\"", _LINKED, f"!{_IN_BAGGAGE}", there)
    yield HTTP.line(f"set-header baggage {member}", _LINKED, f"!{there}")


def _sealed(said: str, *conditions: str) -> Iterator[str]:
    roll, share = "%[var(txn.die)]", "%[var(txn.state),field(2,',')]"
    claim = f"{said}.{roll}.{share}.%[var(txn.addr)].%[date]"
    yield HTTP.line(f'set-var-fmt(txn.claim) "{claim}"', *conditions)
    yield HTTP.line(f'set-var-fmt(txn.stamp) "%[var(txn.claim)].%[var(txn.claim),{_MAC}]"', *conditions)


def spare(spec: Spec, *conditions: str) -> Iterator[str]:
    """Yield the rules of a backend behind which stable may answer instead: it gets a stamp that says so."""
    if role(spec):
        yield from _sealed("stable.forced", _LINKED, *conditions)
        yield HTTP.line(f"set-header {SPARE} %[var(txn.stamp)]", _LINKED, *conditions)


def instead(specs: Sequence[Spec], *turns: str) -> Iterator[str]:
    """Yield the rules of the internal entry: where stable answers instead, its stamp takes the place of the other."""
    if not chained(specs):
        return
    turn = f"{{ var(txn.turn) -m str {' '.join(turns)} }}"
    there = f"{{ req.hdr({SPARE}) -m found }}"
    value = f"%[req.hdr({SPARE})]"
    yield HTTP.line(f"set-header {HEADER} {value}", turn, there)
    yield HTTP.line(f"replace-value baggage {_MEMBER} {MEMBER}={value}", turn, there)
    yield HTTP.line(f"del-header {SPARE}", there)
