"""The configuration as text: a golden file, what only a reload changes, and nothing that breaks out of its line."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployer.core.clock import SystemClock
from deployer.core.errors import DriverFailed, Refused
from deployer.drivers.traffic.haproxy import binary, budget, layout, listeners, live_value, quote
from deployer.drivers.traffic.haproxy.layout import Home
from deployer.drivers.traffic.haproxy.proxy import OwnProxy
from deployer.drivers.traffic.haproxy.reload import persist
from deployer.drivers.traffic.haproxy.render import Files, render, with_servers
from deployer.drivers.traffic.haproxy.spec import Spec, configured, load, save
from deployer.manifest.models import Manifest
from deployer.model import Live, Server
from tests.services import require

GOLDEN = Path(__file__).parent.parent / "golden" / "haproxy"
KEY = "dGhlIHNlY3JldCBvZiB0aGUgZ29sZGVuIGZpbGVzISE="  # of the golden files
HOME = Home(Path("/state/proxy"), Path("/state/proxy/haproxy.cfg"))


def spec(service: str = "shop", *, health: dict[str, Any] | None = None, scale: Any = None, **traffic: Any) -> Spec:
    given = {"service": service, "image": "app:1", "port": 80, "stop": {"grace": "1s"}}
    manifest = Manifest.model_validate({**given, "health": health or {}, "scale": scale, "traffic": traffic})
    return configured(None, service, manifest, None).model_copy(update={"key": KEY})


def having(known: Spec, *servers: Server) -> Spec:
    return known.with_side("blue", known.blue.having(servers))


def everything() -> tuple[Spec, ...]:
    shop = spec(
        domains=["shop.example.com", "*.shop.example.com"],
        health={"http": "/up?from=proxy&x=$1", "status": "200-299,404", "host": "shop.example.com"},
        tls={"certificates": ["/etc/ssl/shop.pem"], "listen": "*:8443", "hsts": "1y"},
        force={"header": "X-Side", "cookie": "side", "networks": ["10.0.0.0/8", "fd00::/8"]},
        listen="*:8080",
    )
    shop = having(shop, Server("shop-r1-1", "127.0.0.1:21001"), Server("shop-r1-2", "[::1]:21002"))
    shop = shop.with_side("blue", shop.blue.leaving(["shop-r1-2"]))
    shop = shop.with_side("baseline", shop.blue.without(["shop-r1-2"]))
    chat = spec("chat", domains=["chat.example.com"], listen="*:8080", affinity="instance")
    queue = spec("queue", mode="tcp", listen="127.0.0.1:5672", affinity="instance")
    return (
        shop,
        having(chat, Server("chat-r1-1", "127.0.0.1:21003"), Server("chat-r1-2", "127.0.0.1:21004")),
        having(queue, Server("queue-r1-1", "127.0.0.1:21005")),
        spec(
            "api",
            domains=["shop.example.com"],
            path="/api",
            listen="*:8080",
            sticky=False,
            protocol="h2",
            shield=False,
            budget=False,
        ),
        spec(
            "rest",
            listen="0.0.0.0:8080",
            forwarded=False,
            timeouts={"client": "5m"},
            shield={"methods": ["GET", "PUT"], "timeout": "2s"},
            budget={"answers": 5, "statuses": "429,500-599"},
            routes=["/checkout", "/checkout/pay", "/"],
        ),
        spec("db", mode="tcp", listen="127.0.0.1:5432", force={"networks": ["127.0.0.0/8"]}),
        having(
            spec("six", listen="[::1]:8080", scale={"max": 8, "concurrency": 12}),
            Server("six-r3-2", "127.0.0.1:21007"),
            Server("six-r3-10", "127.0.0.1:21006"),
        ),
    )


def written(files: Files) -> dict[str, str]:
    return {"haproxy.cfg": files.config} | {path.name: text for path, text in files.others.items()}


def test_the_golden_files() -> None:
    """Set GOLDEN=write to write them anew; read the difference before you commit it."""
    files = written(render(everything(), HOME, own=True))
    if os.environ.get("GOLDEN") == "write":
        GOLDEN.mkdir(exist_ok=True)
        for name, text in files.items():
            (GOLDEN / name).write_text(text)
    assert {path.name: path.read_text() for path in GOLDEN.iterdir()} == files


@pytest.fixture
def place() -> Iterator[Home]:
    root = Path(tempfile.mkdtemp(prefix="dp", dir="/tmp"))
    yield Home(root / "proxy", root / "proxy" / "haproxy.cfg")
    shutil.rmtree(root)


def put(place: Home, specs: tuple[Spec, ...], *, own: bool = True) -> None:
    files = render(specs, place, own=own)
    place.create()
    live_value.save(place.state, {s.service: live_value.encode(Live("blue")) for s in specs})
    for path, text in files.others.items():
        layout.write(path, text)
    layout.write(place.config, files.config)


@pytest.mark.parametrize("own", [True, False], ids=["own", "team"])
def test_every_haproxy_here_takes_the_golden_configuration(place: Home, own: bool) -> None:
    require("haproxy")
    from tests.live.certificates import certificate

    shop, *rest = everything()
    pem = certificate(place.root.parent / "shop.pem", "shop.example.com")
    tls = shop.entry.tls
    assert tls is not None
    entry = shop.entry.model_copy(update={"tls": tls.model_copy(update={"certificates": (str(pem),)})})
    put(place, (shop.model_copy(update={"entry": entry}), *rest), own=own)
    for program in binary.candidates():
        said = binary.Binary(program, binary.version_of(program)).validate(place.config)
        assert said == ""


def test_servers_are_no_part_of_the_structure() -> None:
    bare, full = spec(), having(spec(), Server("a", "127.0.0.1:1"))
    assert render([bare], HOME, own=True).structure == render([full], HOME, own=True).structure
    assert render([bare], HOME, own=True).config != render([full], HOME, own=True).config
    few, more = (having(spec(scale={"max": 2, "concurrency": n}), Server("a", "127.0.0.1:1")) for n in (4, 5))
    assert render([few], HOME, own=True).structure == render([more], HOME, own=True).structure, "it is told at run time"
    assert render([few], HOME, own=True).config != render([more], HOME, own=True).config


@pytest.mark.parametrize(
    "change",
    [
        {"domains": ["b.example.com"]},
        {"sticky": False},
        {"affinity": "instance"},
        {"timeouts": {"response": "9s"}},
        {"force": {"header": "x-a"}},
        {"tls": {"certificates": ["/a.pem"]}},
        {"protocol": "h2"},
        {"path": "/b"},
        {"shield": False},
        {"shield": {"timeout": "3s"}},
        {"budget": False},
        {"budget": {"statuses": "500"}},
        {"routes": ["/x"]},
        {"retry": "connections"},
        {"scale": {"max": 2, "concurrency": 12}},
        {"scale": {"max": 2, "concurrency": 12, "wait": "9s"}},
    ],
)
def test_everything_else_is(change: dict[str, Any]) -> None:
    before = render([spec(domains=["a.example.com"])], HOME, own=True)
    after = render([spec(**{"domains": ["a.example.com"], **change})], HOME, own=True)
    assert before.structure != after.structure


def sleeping() -> Spec:
    return having(
        spec("nap", listen="*:8080", path="/nap", scale={"min": 0, "max": 2, "concurrency": 4}),
        Server("nap-r1-1", "[::1]:22"),
    )


@pytest.mark.parametrize("own", [True, False], ids=["own", "team"])
def test_what_changes_with_the_servers_of_a_service_is_written_without_the_others(own: bool) -> None:
    specs = (*everything(), sleeping())
    config = render(specs, HOME, own=own).config
    for n, known in enumerate(specs):
        for side in (
            known.blue,
            known.blue.having([Server("a-r9-1", "127.0.0.1:21999"), Server("a-r9-2", "127.0.0.1:21998")]),
            known.blue.having([Server("a-r9-1", "127.0.0.1:21999")]).leaving(["a-r9-1"]),
            known.blue.without([member.name for member in known.blue.members]),
            known.blue.sleeping(1.0) if known.blue.starter else known.blue,
        ):
            changed = known.with_side("blue", side)
            expected = render((*specs[:n], changed, *specs[n + 1 :]), HOME, own=own).config
            assert with_servers(config, changed, HOME) == expected
            assert with_servers(expected, known, HOME) == config


def test_a_configuration_that_says_something_else_of_a_service_is_written_anew(place: Home) -> None:
    known = (*everything(), sleeping())
    config = render(known, HOME, own=True).config
    assert with_servers("", known[0], HOME) is None
    assert with_servers(config, spec("new", path="/new"), HOME) is None
    assert with_servers(config.replace("  http-request allow if", "  http-request deny if"), known[0], HOME) is None
    proxy, (shop, chat) = OwnProxy(place.root, SystemClock()), known[:2]
    put(proxy.home, (shop, chat))
    for each in (shop, chat):
        save(proxy.home.services, each)
    for broken in ("", "\nbackend chat_blue from nothing\n  server x 127.0.0.1:1\n"):
        proxy.home.config.write_text(broken)
        changed = having(chat, Server("chat-r2-1", "127.0.0.1:21009"))
        persist(proxy, changed)
        assert proxy.home.config.read_text() == render((shop, changed), proxy.home, own=True, user=os.geteuid()).config
        assert load(proxy.home.services, "chat") == changed
    (proxy.home.services / "shop.json").write_text("{")  # with whole files, nobody reads what is of others
    persist(proxy, chat)
    assert proxy.home.config.read_text() == render((shop, chat), proxy.home, own=True, user=os.geteuid()).config


def test_a_request_meets_as_many_rules_whatever_the_number_of_services() -> None:
    """What differs between services is in maps, in the live value, and in a service's own backends."""

    def entry(count: int) -> str:
        settings = {"force": {"header": "x-side", "cookie": "side", "networks": ["10.0.0.0/8"]}}
        specs = [spec(f"s{n}", domains=[f"{n}.org"], trusted_proxies=["10.0.0.1/32"], **settings) for n in range(count)]
        config = render(specs, HOME, own=True).config
        return config[config.index("frontend ") : config.index("backend ")]

    assert entry(1) == entry(3)


def test_a_renewed_certificate_is_another_structure(place: Home) -> None:
    place.create()
    pem = place.root / "a.pem"
    pem.write_text("old")
    known = spec(tls={"certificates": [str(pem)]})
    before = render([known], HOME, own=True).structure
    pem.write_text("new")
    assert render([known], HOME, own=True).structure != before


def test_the_order_of_services_changes_nothing() -> None:
    forth, back = render(everything(), HOME, own=True), render(reversed(everything()), HOME, own=True)
    assert (forth.config, forth.others, forth.structure) == (back.config, back.others, back.structure)


@pytest.mark.parametrize(
    ("one", "two", "message"),
    [
        ({}, {}, "b and a both claim every name that no other service claims"),
        ({"path": "/x"}, {"path": "/x/"}, "path /x, on 0.0.0.0:80"),
        ({"domains": ["a.org", "b.org"]}, {"domains": ["b.org"]}, "both claim b.org"),
        ({"mode": "tcp"}, {"domains": ["b.org"]}, "a wants it for tcp, b for http"),
        ({"mode": "tcp"}, {"mode": "tcp"}, "a wants it for tcp, b for tcp"),
        (
            {"listen": "*:8443"},
            {"domains": ["b.org"], "tls": {"certificates": ["/a"], "listen": "*:8443"}},
            "a wants it for http, b for https",
        ),
        ({"listen": "*:80"}, {"listen": "127.0.0.1:80"}, "takes every address"),
        ({"listen": "[::]:80"}, {"listen": "[::1]:80"}, "takes every address"),
    ],
)
def test_two_services_that_claim_the_same(one: dict[str, Any], two: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused) as refused:
        listeners.entries([spec("b", **two), spec("a", **one)])
    assert message in str(refused.value)


def test_services_that_share_an_address() -> None:
    shared = [spec("a", domains=["a.org"]), spec("b", domains=["b.org"]), spec("c"), spec("d", path="/d")]
    (entry,) = listeners.entries(shared)
    assert [s.service for s in entry.specs] == ["a", "b", "c", "d"]


@given(st.text())
def test_quoted_text_never_leaves_its_line_or_its_quotes(text: str) -> None:
    try:
        written = quote.quoted(text)
    except Refused:
        return
    inside = written[1:-1]
    assert written[0] == written[-1] == '"'
    assert "\n" not in written
    assert "\0" not in written
    plain = inside.replace("\\\\", "").replace('\\"', "").replace("\\$", "")
    assert not set(plain) & {'"', "$", "\\"}


@pytest.mark.parametrize("text", ["a b", "a\nb", 'a"b', "a#b", "a'b", "a$b", "", "a\\b", "a;b", "ä"])
def test_a_word_that_would_need_quotes_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        quote.word(text)


@pytest.mark.parametrize("path", ["/a b.pem", "/a[ssl-min-ver.pem", "/a,b.pem", "/*.pem", "/é.pem"])
def test_a_certificate_with_a_strange_path_is_refused(path: str) -> None:
    with pytest.raises(Refused, match="cannot be named"):
        render([spec(tls={"certificates": [path]})], HOME, own=True)


def test_a_spec_survives_its_file(place: Home) -> None:
    from deployer.drivers.traffic.haproxy import spec as specs

    place.create()
    for known in everything():
        specs.save(place.services, known)
    assert specs.load_all(place.services) == {s.service: s for s in everything()}


def test_an_edited_spec_is_named(place: Home) -> None:
    from deployer.drivers.traffic.haproxy import spec as specs

    place.create()
    (place.services / "shop.json").write_text("{}")
    with pytest.raises(DriverFailed, match=r"shop\.json is not readable"):
        specs.load(place.services, "shop")


def test_a_colour_changes_alone() -> None:
    manifest = Manifest.model_validate(
        {"service": "shop", "image": "a", "port": 1, "health": {"http": "/new"}, "traffic": {"domains": ["new.org"]}}
    )
    before = having(spec(), Server("a", "127.0.0.1:1"))
    after = configured(before, "shop", manifest, "green")
    assert after.blue == before.blue
    assert after.entry == before.entry
    assert after.green.health.http == "/new"
    entry = configured(before, "shop", manifest, None)
    assert (entry.blue, entry.green) == (before.blue, before.green)
    assert entry.entry.domains == ("new.org",)


def test_what_guards_a_candidate_comes_with_it() -> None:
    traffic = {"shield": False, "budget": 7, "routes": ["/pay"], "sticky": False}
    manifest = Manifest.model_validate({"service": "shop", "image": "a", "port": 1, "traffic": traffic})
    before = spec()
    entry = configured(before, "shop", manifest, "green").entry
    assert (entry.shield, entry.budget, entry.routes) == (None, manifest.traffic.budget, ("/pay",))
    assert entry.sticky, "what concerns users of stable waits for the promotion"
    assert configured(before, "shop", manifest, "baseline").entry == before.entry


def test_a_baseline_comes_alone_and_goes_with_the_entry() -> None:
    manifest = Manifest.model_validate({"service": "shop", "image": "a", "port": 1})
    before = having(spec(), Server("a", "127.0.0.1:1"))
    fresh = configured(before, "shop", manifest, "baseline")
    assert (fresh.places, fresh.side("baseline").members) == (("blue", "green", "baseline"), ())
    assert render([fresh], HOME, own=True).structure != render([before], HOME, own=True).structure
    attached = fresh.with_side("baseline", fresh.side("baseline").having([Server("b", "127.0.0.1:2")]))
    assert configured(attached, "shop", manifest, "baseline") == attached
    assert configured(attached, "shop", manifest, "green") == attached
    assert configured(attached, "shop", manifest, None) == before
    with pytest.raises(DriverFailed, match="no baseline of shop"):
        before.side("baseline")


def test_a_budget_may_change_without_a_reload() -> None:
    one, two = spec(budget=10), spec(budget=20)
    assert render([one], HOME, own=True).structure == render([two], HOME, own=True).structure


def test_the_mode_of_a_service_cannot_change() -> None:
    manifest = Manifest.model_validate({"service": "shop", "image": "a", "port": 1, "traffic": {"mode": "tcp"}})
    with pytest.raises(Refused, match="is a http service"):
        configured(spec(), "shop", manifest, "green")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "red,1,2,3,0,0,0,0",
        "blue,10001,0,0,0,0,0,0",
        "blue,1,2",
        "blue,1,0,7",
        "blue,-1,0,0,0,0,0,0",
        "blue,1,0,0,0,0,0,0 x",
        "blue,9000,0,0,0,0,1001,0",
        "blue,1,2,3,4,5,6",
        "blue,1,2,3,4,5,6,7,8,9",
        "blue,1,2,3,4,5,6,7,-8",
    ],
)
def test_a_live_value_of_somebody_else_is_refused(text: str) -> None:
    assert live_value.understood("shop", text) is None
    with pytest.raises(DriverFailed, match="the proxy's value for shop is "):
        live_value.decode("shop", text)


def test_live_values_survive() -> None:
    live = Live("green", 10, 1764000000, 17, 60, 500, 16)
    assert live_value.encode(live, 4) == "green,10,1764000000,17,60,4,500,16"
    assert live_value.decode("shop", live_value.encode(live, 4)) == live
    assert live_value.spent(live_value.encode(live, 4)) == 4


def test_a_live_value_has_the_token_of_who_wrote_it() -> None:
    live = Live("green", 10, 1764000000, 17, 60, 500, 16, token=35)
    assert live_value.encode(live, 4) == "green,10,1764000000,17,60,4,500,16,35"
    assert live_value.decode("shop", live_value.encode(live, 4)).token == 35
    assert live == Live("green", 10, 1764000000, 17, 60, 500, 16), "it says nothing of what the proxy does"


@pytest.mark.parametrize(
    ("workers", "together"),
    [
        ([(0, 7)], 7),
        ([(0, 7), (7, 2)], 9),  # the second began when the first had counted 7
        ([(0, 9), (7, 2)], 11),  # and the first went on: 2 more
        ([(0, 9), (7, 2), (11, 0)], 11),
        ([(0, 9), (7, 3), (11, 5)], 17),
        ([(0, 3), (0, 2)], 5),
        ([(12, 0)], 12),
        ([], 0),
    ],
)
def test_what_workers_counted_adds_up(workers: list[tuple[int, int]], together: int) -> None:
    assert budget.total(workers) == together
    assert budget.total(reversed(workers)) == together
