"""Who a client is: an id that the proxy minted, so that no client can choose its side.

    deployer-shop=ID.MAC      tag = HMAC(key of the service, "shop|rollout|ID"): its first half is the MAC, in the other
                              half are the bits of the roll

Only the proxy knows the key, so a client can neither make an id nor learn the roll of one before it has used it; a
cookie that was made up, or is of another service or rollout, is replaced by a new one. The key stays with the service
on all of its proxies: the rollout is part of what is signed. Sticky tcp connections have no cookie; there the id is the
address. All of this happens only while a share is open.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator, Sequence

from deployer.drivers.traffic.haproxy.layout import Home
from deployer.drivers.traffic.haproxy.listeners import Listener
from deployer.drivers.traffic.haproxy.quote import word
from deployer.drivers.traffic.haproxy.rules import HTTP, ROLLS, TCP, Rules, listed, networked, uncacheable, unspoken
from deployer.drivers.traffic.haproxy.spec import Spec

_KEY_BYTES = 32
_LENGTH = 36 + 1 + 32  # of the cookie: a UUID, a dot, 16 bytes in hex
_MAC = "bytes(0,16),hex"
# 56 bits: more would make negative numbers, and the remainder of fewer would prefer low rolls.
_NUMBER = f"bytes(16,7),hex,hex2i,mod({ROLLS})"
# One customer has all addresses of an IPv6 network.
_NETWORK = "ipmask(32,64)"
ADDRESS = f"src,{_NETWORK}"
_OWN, _VALUE = "^([^ ]+) (.*; ?)?deployer-\\1=([^;, ]*).*$", "\\3"  # after the name of the service, all cookies
_VALID = "{ var(txn.cookie),field(2,.),secure_memcmp(txn.mac) }"


def new_key() -> str:
    """Return a key, in base64 as HAProxy wants it."""
    return base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()


def key(home: Home) -> Iterator[str]:
    """Return the rules that find what is signed with: the key of the service, and the number of the rollout."""
    yield HTTP.put("key", f"var(txn.svc),map_str({home.keys})", HTTP.shared())
    yield HTTP.put("rollout", f"'{HTTP.value(4)}'", HTTP.has("key"))


def address(specs: Sequence[Spec]) -> Iterator[str]:
    """Return the rules that find the address of a client, `txn.addr`, in hex digits: they are made faster than text."""
    yield HTTP.put("addr", f"{ADDRESS},hex", HTTP.shared())
    for trusted in sorted({s.entry.trusted_proxies for s in specs if s.entry.trusted_proxies}):
        yield from _real_address(trusted)


def number() -> str:
    """Return the rule that makes the address a number, for services behind: it tells them nothing about the client."""
    # A fast hash will do: HMAC costs 6 % of a bare request more.
    hashed = f"var(txn.addr),concat(|,txn.key,|),concat(,txn.rollout),xxh32,mod({ROLLS})"
    return HTTP.put("addr", hashed, HTTP.has("link"), HTTP.has("addr"))


def _real_address(proxies: tuple[str, ...]) -> Iterator[str]:
    """Take the word of a trusted proxy, and that of a second one before it, for whom they passed on."""
    networks, real = networked(proxies), "req.hdr_ip(x-forwarded-for,{})"
    last, before = real.format(-1), real.format(-2)
    trusted = (HTTP.shared(), HTTP.option(7, listed(proxies)), f"{{ src {networks} }}")
    yield HTTP.put("addr", f"{last},{_NETWORK},hex", *trusted)
    yield HTTP.put("addr", f"{before},{_NETWORK},hex", *trusted, f"{{ {last} {networks} }}")


def http(*conditions: str) -> Iterator[str]:
    """Return the rules that read the cookie of a client, or mint one: `txn.roll`, and `txn.new` for a new client.

    They are for requests that meet the conditions.
    """
    # A cookie's name cannot be computed in a rule, so it is searched for in the text of all cookies.
    mine = ("{ var(txn.opt) -m beg 1 }", "{ req.fhdr(cookie) -m sub deployer- }", HTTP.shared(), *conditions)
    yield HTTP.line('set-var-fmt(txn.jar) "%[var(txn.svc)] %[req.fhdr(cookie)]"', *mine)
    yield HTTP.put("jar", f'\'var(txn.jar),regsub("{_OWN}","{_VALUE}")\'', HTTP.has("jar"))
    yield HTTP.put("cookie", "var(txn.jar)", f"{{ var(txn.jar) -m len {_LENGTH} }}")
    known, new = HTTP.has("cookie"), HTTP.has("new")
    keeps = (HTTP.has("key"), "{ var(txn.opt) -m beg 1 }", *conditions)
    yield HTTP.put("id", "var(txn.cookie),field(1,.)", known)
    yield from _tag(HTTP, known)
    yield HTTP.put("mac", f"var(txn.tag),{_MAC}", known)
    yield HTTP.put("new", "bool(true)", *keeps, f"!{_VALID}")
    yield HTTP.put("id", "uuid()", new)
    yield from _tag(HTTP, new)
    yield HTTP.put("roll", f"var(txn.tag),{_NUMBER}", *keeps)


def cookie(entry: Listener) -> Iterator[str]:
    """Return the rules that give a new client its cookie, unless its side was no matter of chance."""
    yield HTTP.line("unset-var(txn.new)", HTTP.has("how"))
    value = f"deployer-%[var(txn.svc)]=%[var(txn.id)].%[var(txn.tag),{_MAC}]; Path=/; HttpOnly; SameSite=Lax"
    secure = "; Secure" if entry.kind == "https" else ""
    # A shared cache that kept an answer with it would not keep it, or give everybody the same roll.
    after, new = Rules("http-after-response", "txn"), HTTP.has("new")
    yield after.line("unset-var(txn.new)", after.is_gone())
    yield after.put("given", "bool(true)", " or ".join(f"{new} {each}" for each in uncacheable()))
    if any(s.keeps_instance for s in entry.specs):
        yield after.put("given", "bool(true)", new, after.option(8, "1"), unspoken())
    yield after.line(f"add-header Set-Cookie '{value}{secure}'", after.has("given"))


def tcp(spec: Spec, home: Home) -> Iterator[str]:
    """Return the rules that give a connection the number of its address, which is its roll if it keeps its side."""
    yield TCP.put("key", f"var(sess.svc),map_str({home.keys})", TCP.shared())
    yield TCP.put("rollout", f"'{TCP.value(4)}'", TCP.has("key"))
    yield TCP.put("id", ADDRESS, TCP.has("key"))
    yield from _tag(TCP, TCP.has("key"))
    yield TCP.put("addr", f"var(sess.tag),{_NUMBER}", TCP.has("key"))
    if spec.entry.sticky:
        yield TCP.put("roll", "var(sess.addr)", TCP.has("addr"))


def name(spec: Spec) -> str:
    """Return the name of the cookie that keeps a client on its side."""
    return f"deployer-{word(spec.service)}"


def keys(specs: Sequence[Spec]) -> str:
    """Return the map from service to key."""
    return "".join(f"{word(spec.service)} {spec.key}\n" for spec in specs if spec.key)


def read_keys(text: str) -> dict[str, str]:
    """Return the keys by service, as `keys` wrote them."""
    return dict(line.split(" ", 1) for line in text.splitlines() if " " in line)


def _tag(rules: Rules, condition: str) -> Iterator[str]:
    signed = "|".join(f"%[{rules.var(each)}]" for each in ("svc", "rollout", "id"))
    yield rules.line(f'set-var-fmt({rules.scope}.claim) "{signed}"', condition)
    yield rules.put("tag", f"{rules.var('claim')},hmac(sha256,{rules.scope}.key)", condition)
