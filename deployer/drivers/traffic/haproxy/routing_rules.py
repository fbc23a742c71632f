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

from deployer.drivers.traffic.haproxy import backend, budget, identity
from deployer.drivers.traffic.haproxy.addresses import OF, PART
from deployer.drivers.traffic.haproxy.layout import Home
from deployer.drivers.traffic.haproxy.listeners import Listener
from deployer.drivers.traffic.haproxy.quote import word
from deployer.drivers.traffic.haproxy.rules import GONE, HTTP, ROLLS, TCP, Rules, networked
from deployer.drivers.traffic.haproxy.shield import REPEATED
from deployer.drivers.traffic.haproxy.spec import Spec
from deployer.model import COLOURS, FULL, other


def http(entry: Listener, home: Home) -> Iterator[str]:
    """Give the rules of an entry whose service is known."""
    sticky = [s for s in entry.specs if s.entry.sticky]
    yield from live(HTTP, home)
    if not any(s.entry.force.header or s.entry.force.cookie for s in entry.specs):
        yield HTTP.line("allow", f"!{HTTP.shared()}", f"!{HTTP.has('preview')}")  # at rest all go to stable
    yield from identity.address(entry.specs, home)
    if sticky:
        yield from identity.http(sticky)
    if sticky or any(s.baseline for s in entry.specs):
        yield HTTP.put("die", f"rand({ROLLS})", HTTP.shared())
        yield HTTP.put("die", "var(txn.roll)", HTTP.has("roll"))
        yield from draw(HTTP, entry.specs)
    else:
        yield from draw(HTTP, entry.specs, f"rand({ROLLS})")
    if not any(s.entry.force.header or s.entry.force.cookie for s in entry.specs):
        # Nothing of what follows is about those who go to stable; they are the most.
        yield HTTP.line("allow", f"!{HTTP.has('side')}", f"!{HTTP.has('preview')}")
    yield from ended(HTTP, entry.specs)
    yield from _chosen(entry)
    yield HTTP.put("how", "str(preview)", HTTP.has("preview"))
    yield from HTTP.candidate(HTTP.has("preview"))
    yield from gone(HTTP, entry.specs)
    if sticky:
        yield from identity.cookie(entry)
    yield from _counted(entry.specs)
    yield from _shielded(entry.specs)


def tcp(spec: Spec, home: Home) -> Iterator[str]:
    """Give the same for a tcp service: a connection has no cookie, a sticky one is known by its address."""
    yield from live(TCP, home)
    yield from identity.tcp(spec, home)
    if spec.entry.sticky:
        yield TCP.put("die", "var(sess.roll)")
    else:
        yield TCP.put("die", f"rand({ROLLS})")
    yield from draw(TCP, (spec,))
    yield from ended(TCP, (spec,))
    yield from gone(TCP, (spec,))


def live(rules: Rules, home: Home) -> Iterator[str]:
    """Look up the live value, and how many of the rolls are the candidate's."""
    yield rules.put("state", f"{rules.var('svc')},map_str({home.state})")
    yield rules.put("cut", f"'{rules.value(2)},mul({ROLLS // FULL})'")


def draw(rules: Rules, specs: Sequence[Spec], die: str = "") -> Iterator[str]:
    """Give the side by the number: the candidate from 0 up to the share, then the baseline, then stable."""
    yield rules.put("side", "str(green)", f"{{ {die or rules.var('die')},sub({rules.scope}.cut) lt 0 }}")
    yield rules.put("side", "str(blue)", rules.has("side"), f"{{ {rules.var('state')} -m beg green }}")
    for spec in (s for s in specs if s.baseline):
        yield from _beside(rules, spec)
    for spec in (s for s in specs if s.entry.force.networks):
        # Only while users are let in: after a promotion the other side is the old release, kept warm.
        here = f"{{ {rules.var('svc')} -m str {spec.service} }}"
        among = (here, rules.shared(), f"{{ src {networked(spec.entry.force.networks)} }}")
        yield from rules.candidate(*among)
        yield rules.put("how", "str(forced)", *among)


def ended(rules: Rules, specs: Sequence[Spec]) -> Iterator[str]:
    """Take back to stable whom the share picked, although it is over."""
    yield from _over(rules)
    if any(s.entry.budget for s in specs):
        yield from _spent(rules)
    yield rules.line(f"unset-var({rules.scope}.side)", f"{{ {rules.var('how')} -m str ended }}")


def gone(rules: Rules, specs: Sequence[Spec]) -> Iterator[str]:
    """Give stable those who were drawn for a candidate without an instance; it counts against the candidate.

    Nothing was sent, so that is safe for every method. Where stable has none either, they wait for the candidate.
    """
    for spec in specs:
        for colour in COLOURS:
            mine, others = (backend.name(spec.service, each) for each in (colour, other(colour)))
            yield rules.put(
                "how",
                f"str({GONE})",
                f"{{ {rules.var('side')} -m str {colour} }}",
                f"!{rules.has('how')}",
                f"{{ {rules.var('svc')} -m str {spec.service} }}",
                f"!{backend.alive(mine)}",
                backend.alive(others),
            )


def _beside(rules: Rules, spec: Spec) -> Iterator[str]:
    """The fresh baseline has the rolls above the share. Without a server that is up it gets nobody."""
    mine = (f"{{ {rules.var('svc')} -m str {spec.service} }}", rules.shared())
    beside = f"{rules.value(7)},mul({ROLLS // FULL}),add({rules.scope}.cut)"
    yield rules.put("end", f"'{beside}'", *mine, f"!{rules.has('side')}")
    yield rules.put(
        "side",
        "str(baseline)",
        rules.has("end"),
        f"{{ {rules.var('die')},sub({rules.scope}.end) lt 0 }}",
        f"{{ nbsrv({word(spec.service)}_baseline) gt 0 }}",
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

    A candidate without a server that is up is not chosen: it is gone, or not yet there.
    """
    forces = [s.entry.force for s in entry.specs]
    if not any(f.header or f.cookie for f in forces):
        return
    for field, fetch, names in (
        (3, "req.cook", {f.cookie for f in forces if f.cookie}),
        (2, "req.hdr", {f.header.lower() for f in forces if f.header}),
    ):
        for name in sorted(map(word, names)):
            mine = f"{{ var(txn.opt),field({field},|) -m str {name} }}"
            yield HTTP.put("want", f"{fetch}({name})", mine, f"{{ {fetch}({name}) -m str stable candidate }}")
    yield HTTP.put("how", "str(forced)", HTTP.has("want"))
    yield HTTP.line("unset-var(txn.side)", HTTP.has("want"))
    for spec in (s for s in entry.specs if s.entry.force.header or s.entry.force.cookie):
        wanted = ("{ var(txn.want) -m str candidate }", f"{{ var(txn.svc) -m str {spec.service} }}")
        for colour in COLOURS:
            there = f"{{ var(txn.state) -m beg {other(colour)} }}"
            yield HTTP.put("side", f"str({colour})", *wanted, there, backend.alive(backend.name(spec.service, colour)))


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
        yield after.put("bad", "bool(true)", f"{{ status {ranges} }} {{ var(txn.opt),field(5,|) -m str {each} }}")
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
        meant = (f"{{ method {methods.replace(',', ' ')} }}", f"{{ var(txn.opt),field(4,|) -m str {methods} }}")
        # Where stable has nobody who could answer, the candidate's own answer is the better one.
        stable = "\"%[var(txn.svc)]_%[var(txn.state),field(1,',')]\""
        yield HTTP.line(f"set-var-fmt(txn.other) {stable}", *_drawn(specs), *meant, "!{ req.hdr(upgrade) -m found }")
    for spec in (s for s in specs if s.entry.shield):
        for stable in (backend.name(spec.service, colour) for colour in COLOURS):
            yield HTTP.put("how", "str(shield)", f"{{ var(txn.other) -m str {stable} }}", backend.alive(stable))
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
