"""Which side a request gets, as rules of an entry.

Everything that changes while a rollout goes on runs in one map value per service (`state`), so that a change is one
write and is never seen torn. Most requests go to stable, and do so with few rules: lease and budget are looked at only
for those that the share picks, and what is not said of a request (no side, no `how`) means drawn for stable.

    txn.state   the live value                     txn.die    a number below ROLLS, thrown for this request
    txn.cut     the share, as a number below ROLLS txn.roll   the same, kept by the client
    txn.side    where it goes, else to stable      txn.how    shield, forced, preview; ended: the share is over;
                                                           gone: the candidate has no instance, stable answers

A tcp entry has the same in the scope `sess`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from deployer.drivers.traffic.haproxy import backend, budget, chain, identity, naming
from deployer.drivers.traffic.haproxy.addresses import OF, PART
from deployer.drivers.traffic.haproxy.layout import Home
from deployer.drivers.traffic.haproxy.listeners import Listener
from deployer.drivers.traffic.haproxy.quote import word
from deployer.drivers.traffic.haproxy.rules import GONE, HTTP, ROLLS, TCP, Rules, listed, networked
from deployer.drivers.traffic.haproxy.shield import REPEATED
from deployer.drivers.traffic.haproxy.spec import Spec
from deployer.model import COLOURS, FULL, other

SIDES = "stable candidate"  # as requests call them that may choose
UNKNOWN = '  http-request return status 404 content-type text/plain string "no such service"'
LINES = "proc.deployer_lines"  # until when somebody reads lines about calm services, in seconds


def calm(entry: Listener, home: Home) -> Iterator[str]:
    """Let go whoever asks for a calm service, one without a rollout: nearly all do, nearly always.

    Not those who may choose their side, or come by the preview route. Nobody reads lines but `RequestStream`.
    """
    unread = f"{{ date,sub({LINES}) ge 0 }}"
    yield from chain.strip(entry.specs, home)
    yield HTTP.put("state", f"var(txn.svc),map_str({home.state})")
    yield share(HTTP)
    yield HTTP.line("set-log-level silent", HTTP.calm(), unread)
    yield HTTP.line("allow", HTTP.calm(), *_ordinary(entry), unread)
    yield HTTP.put("t0", "date(0,us)")
    yield from _route(entry, home)
    if chain.chained(entry.specs):  # whose services stamp what they pass on while a share is open
        yield HTTP.line("allow", HTTP.calm(), *_ordinary(entry))


def _route(entry: Listener, home: Home) -> Iterator[str]:
    if any(s.entry.routes for s in entry.specs):
        yield '  http-request set-var-fmt(txn.at) "%[var(txn.svc)]%[var(txn.path)]/"'
        yield f"  http-request set-var(txn.route) var(txn.at),map_beg({home.maps / 'labels.map'})"


def _ordinary(entry: Listener) -> Iterator[str]:
    """Yield conditions: neither a preview, nor something in it by which a request may choose its side."""
    yield f"!{HTTP.has('preview')}"
    for fetch in _choices(entry):
        yield f"!{{ {fetch} -m found }}"
    yield from chain.unchosen(entry.specs)


def _choices(entry: Listener) -> tuple[str, ...]:
    """Return how a choice is read from a request, of all services."""
    forces = [s.entry.force for s in entry.specs]
    headers = {f"req.hdr({word(f.header.lower())})" for f in forces if f.header}
    return (*sorted(headers), *sorted({f"req.cook({word(f.cookie)})" for f in forces if f.cookie}))


def http(entry: Listener, home: Home) -> Iterator[str]:
    """Yield the rules of an entry whose service is known, and not calm."""
    sticky = [s for s in entry.specs if s.entry.sticky]
    linked = chain.chained(entry.specs)
    drawn_by_option = bool(sticky) or linked or any(_by_network(s) for s in entry.specs)
    if drawn_by_option:
        yield from _options(home)
    yield from chain.read(entry.specs, home)
    if chain.follows(entry.specs):  # by the share that came with the request
        yield share(HTTP)
    yield from identity.address(entry.specs)
    if sticky or linked:
        yield from identity.key(home)
    if linked:
        yield identity.number()
    if sticky:
        yield from identity.http(*chain.unstamped(entry.specs))
    yield from chain.throw(entry.specs)
    if sticky or linked or any(s.baseline for s in entry.specs):
        yield HTTP.put("die", f"rand({ROLLS})", HTTP.shared())
        yield HTTP.put("die", "var(txn.roll)", HTTP.has("roll"))
        yield from chain.each(entry.specs)
        yield from draw(HTTP, entry.specs)
    else:
        yield from draw(HTTP, entry.specs, f"rand({ROLLS})")
    # Nothing of what follows is about those who go to stable; they are the most. Only a chain stamps them.
    yield HTTP.line("allow", f"!{HTTP.has('side')}", *_ordinary(entry), *([f"!{HTTP.has('link')}"] if linked else []))
    yield colour(HTTP)
    if not drawn_by_option:
        yield from _options(home)
    yield from ended(HTTP, entry.specs)
    yield from chain.chosen(entry.specs)
    yield from _chosen(entry)
    yield HTTP.put("how", "str(preview)", HTTP.has("preview"))
    yield from HTTP.candidate(HTTP.has("preview"))
    yield from chain.stamp(entry.specs)
    if sticky:
        yield from identity.cookie(entry)
    yield from _counted(entry.specs)
    yield from _shielded(entry.specs)


def _by_network(spec: Spec) -> bool:
    """Return whether an address decides, by options of the service: whom it is forced for, whose word counts for it."""
    return bool(spec.entry.force.networks or spec.entry.trusted_proxies)


def _options(home: Home) -> Iterator[str]:
    """Look up the options of the service; a preview may ask for one that is not there."""
    yield HTTP.put("opt", f"var(txn.svc),map_str({home.options})")
    yield f"{UNKNOWN} unless {HTTP.has('opt')}"


def tcp(spec: Spec, home: Home) -> Iterator[str]:
    """Yield the same for a tcp service: a connection has no cookie, a sticky one is known by its address."""
    yield TCP.put("state", f"var(sess.svc),map_str({home.state})")
    yield share(TCP)
    yield from identity.tcp(spec, home)
    if spec.entry.sticky:
        yield TCP.put("die", "var(sess.roll)")
    else:
        yield TCP.put("die", f"rand({ROLLS})")
    yield from draw(TCP, (spec,))
    yield colour(TCP)
    yield from ended(TCP, (spec,))
    yield from gone(spec)


def share(rules: Rules) -> str:
    """Return how many of the rolls are the candidate's."""
    return rules.put("cut", f"'{rules.value(2)},mul({ROLLS // FULL})'")


def draw(rules: Rules, specs: Sequence[Spec], die: str = "") -> Iterator[str]:
    """Yield the rules that set the side by the number: candidate from 0 up to the share, then baseline, then stable."""
    yield rules.put("side", "str(green)", f"{{ {die or rules.var('die')},sub({rules.scope}.cut) lt 0 }}")
    if any(s.baseline for s in specs):
        yield from _beside(rules)
    for networks in sorted({s.entry.force.networks for s in specs if s.entry.force.networks}):
        # Only while users are let in: after a promotion the other side is the old release, kept warm.
        mine = () if rules is TCP else (rules.option(6, listed(networks)),)
        free = () if rules is TCP else chain.unstamped(specs)
        among = (rules.shared(), *mine, *free, f"{{ src {networked(networks)} }}")
        yield rules.put("side", "str(green)", *among)
        yield rules.put("how", "str(forced)", *among)


def colour(rules: Rules) -> str:
    """Return the rule that sets the candidate's colour: until then it is called green, and most requests end before."""
    return rules.put(
        "side", "str(blue)", f"{{ {rules.var('side')} -m str green }} {{ {rules.var('state')} -m beg green }}"
    )


def ended(rules: Rules, specs: Sequence[Spec]) -> Iterator[str]:
    """Take back to stable whom the share picked, although it is over."""
    yield from _over(rules)
    if any(s.entry.budget for s in specs):
        yield from _spent(rules)
    yield rules.line(f"unset-var({rules.scope}.side)", f"{{ {rules.var('how')} -m str ended }}")


def gone(spec: Spec) -> Iterator[str]:
    """Yield the rules that move to stable who drew a candidate without an instance; `backend` has those for http.

    Where stable has none either, they wait for the candidate.
    """
    for colour in COLOURS:
        mine, others = (naming.backend(spec.service, each) for each in (colour, other(colour)))
        drawn = (f"{{ {TCP.var('side')} -m str {colour} }}", f"!{TCP.has('how')}")
        yield TCP.put("how", f"str({GONE})", *drawn, f"!{backend.alive(mine)}", backend.alive(others))


def _beside(rules: Rules) -> Iterator[str]:
    """The fresh baseline has the rolls above the share. Without a server that is up it gets nobody."""
    beside = f"{rules.value(7)},mul({ROLLS // FULL})"
    yield rules.put("end", f"'{beside}'", rules.shared(), f"!{rules.has('side')}")
    yield rules.put("end", f"{rules.var('end')},add({rules.scope}.cut)", f"{{ {rules.var('end')} -m int gt 0 }}")
    up = f"{{ {rules.var('svc')},concat(_baseline),nbsrv gt 0 }}"
    yield rules.put(
        "side", "str(baseline)", rules.has("end"), f"{{ {rules.var('die')},sub({rules.scope}.end) lt 0 }}", up
    )


def _over(rules: Rules) -> Iterator[str]:
    """A share whose lease is over is none."""
    picked = rules.has("side")
    yield rules.put("lease", f"'{rules.value(3)},add(0)'", picked)
    passed = f"{{ date,sub({rules.scope}.lease) ge 0 }}"
    yield rules.put("how", "str(ended)", picked, f"{{ {rules.var('lease')} -m int gt 0 }}", passed)


def _spent(rules: Rules) -> Iterator[str]:
    """A share whose budget is spent is none, from the very answer on that spent it."""
    limited = f"{{ {rules.var('limit')} -m int gt 0 }}"
    yield rules.put("limit", f"'{rules.value(5)},add(0)'", rules.has("side"))
    account = f'"%[{rules.var("svc")}]@%[{rules.value(4)}]"'.replace('","', "','")
    yield rules.line(f"set-var-fmt({rules.scope}.account) {account}", limited)
    yield rules.put("before", f"'{rules.value(6)},add(0)'", limited)
    counted = f"{rules.var('account')},table_gpc0({budget.TABLE}),add({rules.scope}.before),sub({rules.scope}.limit)"
    yield rules.put("how", "str(ended)", limited, f"{{ {counted} ge 0 }}")


def _chosen(entry: Listener) -> Iterator[str]:
    """Let chosen requests choose their side; a header weighs more than a cookie, a cookie more than a network.

    Who chooses a candidate that is gone, or not yet there, gets stable: see `backend`.
    """
    forces = [s.entry.force for s in entry.specs]
    if not any(f.header or f.cookie for f in forces):
        return
    for field, fetch, names in (
        (3, "req.cook", {f.cookie for f in forces if f.cookie}),
        (2, "req.hdr", {f.header.lower() for f in forces if f.header}),
    ):
        for name in sorted(map(word, names)):
            yield HTTP.put(
                "want", f"{fetch}({name})", HTTP.option(field, name), f"{{ {fetch}({name}) -m str {SIDES} }}"
            )
    yield HTTP.put("how", "str(forced)", HTTP.has("want"))
    yield HTTP.line("unset-var(txn.side)", HTTP.has("want"))
    yield from HTTP.candidate("{ var(txn.want) -m str candidate }")


def _counted(specs: Sequence[Spec]) -> Iterator[str]:
    """Count what users see of the candidate: those who were drawn, not those who chose it."""
    statuses = sorted({counted(s) for s in specs if s.entry.budget})
    if not statuses:
        return
    yield HTTP.line(f"track-sc0 var(txn.account) table {budget.TABLE}", HTTP.has("account"), *_drawn(specs))
    tracked, spender = ("{ sc0_tracked }", HTTP.has("addr")), HTTP.has("spender")
    yield HTTP.line('set-var-fmt(txn.spender) "%[var(txn.account)]@%[var(txn.addr)]"', *tracked)
    yield HTTP.line(f"track-sc1 var(txn.spender) table {budget.ADDRESSES}", spender)
    for count, name in enumerate(("all", "sent")):
        yield HTTP.line(f"sc-inc-gpc1({count})", spender)
        yield HTTP.put(name, f"sc_get_gpc1({count})", spender)
    yield from _spending(statuses, shields=any(s.entry.shield for s in specs))


def _spending(statuses: Sequence[str], *, shields: bool) -> Iterator[str]:
    """Count a failed answer for the budget and for its address, unless that one has spent more than its part."""
    after = Rules("http-after-response", "txn")
    bad, shielded = after.has("bad"), f"{{ {after.var('how')} -m str shield }}"
    yield after.line("allow", f"!{after.has('account')}", *([f"!{shielded}"] if shields else []))
    # Whoever made the answer: a time-out is one by the proxy. It comes here once, after the last retry.
    for each in statuses:
        ranges = word(each).replace("-", ":").replace(",", " ")
        yield after.put("bad", "bool(true)", f"{{ status {ranges} }} {after.option(5, each)}")
    yield after.line("unset-var(txn.bad)", bad, after.is_gone())
    # What stable failed too would have failed without the candidate.
    if shields:
        yield after.line("unset-var(txn.bad)", bad, shielded, f"{{ res.hdr({REPEATED}) -m found }}")
    # As `Addresses.answer` does it, with what this address sent and failed of all that the candidate got and failed.
    yield after.put("mine", f"sc_get_gpc0(1),mul(txn.all),mul({OF})", bad, after.has("spender"))
    within = f"{{ sc_get_gpc0(0),add(1),mul(txn.sent),mul({PART}),sub(txn.mine) ge 0 }}"
    may = (f"!{after.has('spender')}", within)
    yield after.put("spent", "bool(true)", " or ".join(f"{bad} {each}" for each in may))
    for count in (0, 1):
        yield after.line(f"sc-inc-gpc0({count})", after.has("spent"))


def _shielded(specs: Sequence[Spec]) -> Iterator[str]:
    """Shield those who were drawn for the candidate, where repeating a request is safe."""
    for methods in sorted({shielded(s) for s in specs if s.entry.shield}):
        safe = (f"{{ method {methods.replace(',', ' ')} }}", "!{ req.hdr(upgrade) -m found }")
        yield HTTP.put("how", "str(shield)", *_drawn(specs), HTTP.option(4, methods), *safe)
    if any(s.entry.shield for s in specs):
        yield f"  http-after-response del-header {REPEATED} if {{ var(txn.how) -m str shield }}"


def _drawn(specs: Sequence[Spec]) -> list[str]:
    """Conditions: the candidate, by the throw and not by choice."""
    beside = ["!{ var(txn.side) -m str baseline }"] if any(s.baseline for s in specs) else []
    return [HTTP.has("side"), f"!{HTTP.has('how')}", *beside]


def shielded(spec: Spec) -> str:
    """Write the methods that are shielded, as an option of the service."""
    return ",".join(sorted(spec.entry.shield.methods)) if spec.entry.shield else "-"


def counted(spec: Spec) -> str:
    """Write the statuses that count for the budget, as an option of the service."""
    return spec.entry.budget.statuses if spec.entry.budget else "-"
