"""Several services on one proxy: names, wildcards, paths, headers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deployer.core.errors import Refused
from deployer.model import Live
from tests.live.client import get
from tests.live.proxies import Bench
from tests.live.upstream import Upstream
from tests.waiting import within

pytestmark = pytest.mark.live


def test_names_wildcards_and_paths_find_their_service(bench: Bench) -> None:
    services: dict[str, dict[str, Any]] = {
        "exact": {"domains": ["shop.example.com"]},
        "api": {"domains": ["shop.example.com"], "path": "/api"},
        "deep": {"domains": ["shop.example.com"], "path": "/api/v2/"},
        "wild": {"domains": ["*.example.com"]},
        "rest": {},
        "static": {"path": "/static"},
    }
    with Upstream("one") as upstream:
        for service, traffic in services.items():
            bench.put("blue", upstream, service=service, force={"header": "x-none"}, **traffic)
            bench.set_traffic(Live("blue"), service)
        asked = {
            ("shop.example.com", "/"): "exact",
            ("SHOP.example.com:8080", "/x"): "exact",
            ("shop.example.com.", "/x"): "exact",
            ("shop.example.com", "/api"): "api",
            ("shop.example.com", "/api/x?q=/api/v2"): "api",
            ("shop.example.com", "/apix"): "exact",
            ("shop.example.com", "/api/v2/x"): "deep",
            ("shop.example.com", "/api/v2"): "deep",
            ("cart.example.com", "/api"): "wild",
            ("a.b.example.com", "/"): "rest",
            ("example.com", "/"): "rest",
            ("", "/"): "rest",
            ("localhost", "/shop.example.com/"): "rest",
            ("localhost", "/static/a.css"): "static",
        }
        for (host, path), service in asked.items():
            with bench.traffic.samples(service) as samples:
                assert get(bench.port, path, {"host": host}).status == 200
                total = 0

                def seen() -> bool:
                    nonlocal total
                    total += samples.take().stable.requests
                    return total == 1

                within().until(seen, f"{host}{path} goes to {service}", every=0.01)


def test_a_name_that_nobody_has_is_404(bench: Bench, blue: Upstream) -> None:
    bench.put("blue", blue, domains=["shop.example.com"], path="/api")
    bench.set_traffic(Live("blue"))
    assert get(bench.port, "/api", {"host": "other"}).status == 404
    assert get(bench.port, "/", {"host": "shop.example.com"}).status == 404
    assert get(bench.port, "/api", {"host": "shop.example.com"}).status == 200


def test_one_service_moves_alone(bench: Bench, blue: Upstream, green: Upstream) -> None:
    bench.both(blue, green, service="shop", domains=["shop.example.com"])
    bench.both(blue, green, service="cart", domains=["cart.example.com"])
    bench.set_traffic(Live("green", 0, 0, 2), "cart")
    assert get(bench.port, "/", {"host": "shop.example.com"}).who == "b1"
    assert get(bench.port, "/", {"host": "cart.example.com"}).who == "g1"


def test_a_claim_of_another_service_is_refused_by_name(bench: Bench, blue: Upstream) -> None:
    bench.put("blue", blue, domains=["shop.example.com"])
    with pytest.raises(Refused, match=r"shop and cart both claim shop\.example\.com"):
        bench.traffic.configure(bench.release("cart", domains=["shop.example.com"]), "blue", within())
    with pytest.raises(Refused, match="db wants it for tcp, shop for http"):
        bench.traffic.configure(bench.release("db", mode="tcp"), "blue", within())
    assert bench.traffic.read("cart") is None


def test_headers_tell_who_asked_and_not_who_was_claimed(bench: Bench, blue: Upstream) -> None:
    bench.put("blue", blue)
    bench.set_traffic(Live("blue"))
    claimed = {
        "x-forwarded-for": "1.2.3.4",
        "X-Forwarded-Port": "1",
        "Forwarded": "for=1.2.3.4",
        "X_Forwarded_For": "1.2.3.4",  # to a WSGI or PHP application the same name as with dashes
        "X_Forwarded-Proto": "https",
        "X-Forwarded_Host": "b.example.com",
        "host": "a.example.com",
    }
    seen = json.loads(get(bench.port, "/headers", claimed).body)
    assert seen["x-forwarded-for"] == "127.0.0.1"
    assert seen["x-forwarded-host"] == "a.example.com"
    assert seen["x-forwarded-proto"] == "http"
    assert "x-forwarded-port" not in seen
    assert "forwarded" not in seen
    assert not [name for name in seen if "_" in name]


@pytest.mark.parametrize("upgrade", ["h2c", "H2C", "foo, h2c"])
def test_nobody_goes_around_the_proxy_by_speaking_http2_to_an_instance(
    bench: Bench, blue: Upstream, upgrade: str
) -> None:
    bench.put("blue", blue)
    bench.set_traffic(Live("blue"))
    asked = {"upgrade": upgrade, "connection": "Upgrade, HTTP2-Settings", "http2-settings": "AAMAAABkAAQAAP__"}
    seen = json.loads(get(bench.port, "/headers", asked).body)
    assert "h2c" not in seen.get("upgrade", "").lower()
    kept = json.loads(get(bench.port, "/headers", {"upgrade": "tcp", "connection": "Upgrade"}).body)
    assert (kept["upgrade"], kept["connection"].lower()) == ("tcp", "upgrade")


def test_a_path_finds_the_same_service_in_whatever_form_it_is_written(bench: Bench) -> None:
    with Upstream("rest") as rest, Upstream("admin") as admin:
        bench.put("blue", rest, service="rest")
        bench.put("blue", admin, service="admin", path="/admin")
        for service in ("rest", "admin"):
            bench.set_traffic(Live("blue"), service)
        forms = [
            "/admin/x",
            "//admin/x",
            "///admin//x",
            "/%61dmin/x",
            "/%61%64min%2Fx",
            "/./admin/x",
            "/%2fadmin",
            "/.//admin",
        ]
        assert {path: get(bench.port, path).who for path in forms} == dict.fromkeys(forms, "admin")
        same = ["//adminx", "/x//admin", "/%2561dmin/x", "/.admin/x", "/100%25", "/..x/y", "/x?a=//admin/../%zz"]
        assert {path: get(bench.port, path).who for path in same} == dict.fromkeys(same, "rest")
        assert admin.hits["/%61dmin/x"] == 1, "an instance gets the path as the client wrote it"
        unclear = ["/x/../admin/y", "/x/%2e%2E/admin", "/x%2f..%2fadmin", "/..", "/%61dmin/%zz", "/%61dmin%00/"]
        assert {path: get(bench.port, path).status for path in unclear} == dict.fromkeys(unclear, 400)


def test_where_no_path_decides_no_path_is_refused(bench: Bench, blue: Upstream) -> None:
    bench.put("blue", blue)
    bench.set_traffic(Live("blue"))
    forms = ["/x/../y", "/100%", "//x", "/%zz"]
    assert {path: get(bench.port, path).status for path in forms} == dict.fromkeys(forms, 200)


def test_behind_another_proxy_the_headers_stay(bench: Bench, blue: Upstream) -> None:
    bench.put("blue", blue, forwarded=False)
    bench.set_traffic(Live("blue"))
    seen = json.loads(get(bench.port, "/headers", {"x-forwarded-for": "1.2.3.4"}).body)
    assert seen["x-forwarded-for"] == "1.2.3.4"
    assert "x-forwarded-proto" not in seen
