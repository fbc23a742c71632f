"""Who gets which side: shares, stickiness, forced sides, previews, leases."""

from __future__ import annotations

import json
import time
import uuid
from math import sqrt

import pytest

from deployer.core.errors import DriverFailed, Refused
from deployer.drivers.traffic.haproxy.spec import Spec
from deployer.model import Live
from tests.live.client import burst, get
from tests.live.minting import Mint
from tests.live.proxies import Bench
from tests.live.upstream import Upstream
from tests.waiting import within

pytestmark = pytest.mark.live

ID, MAC = str(uuid.UUID(int=17)), "0" * 32


@pytest.mark.parametrize(("share", "requests"), [(10, 20000), (100, 20000), (1000, 6000), (5000, 4000)])
def test_measured_share_is_the_share_target_for(
    bench: Bench, blue: Upstream, green: Upstream, share: int, requests: int
) -> None:
    bench.both(blue, green)
    bench.set_traffic(Live("blue", share, 0, 1))
    seen = burst(bench.port, requests)
    p = share / 10000
    assert seen["b1"] + seen["g1"] == requests
    # 4.5 standard deviations: wrong once in 150,000 runs
    assert abs(seen["g1"] - requests * p) <= 4.5 * sqrt(requests * p * (1 - p)) + 1, seen


def test_zero_and_full_shares_are_exact(bench: Bench, blue: Upstream, green: Upstream) -> None:
    bench.both(blue, green)
    bench.set_traffic(Live("blue", 0, 0, 1))
    assert burst(bench.port, 3000) == {"b1": 3000}
    bench.set_traffic(Live("blue", 10000, 0, 1))
    assert burst(bench.port, 3000) == {"g1": 3000}
    bench.set_traffic(Live("green", 0, 0, 1))
    assert burst(bench.port, 3000) == {"g1": 3000}


def test_a_sticky_client_never_moves_back_while_the_share_grows(bench: Bench, blue: Upstream, green: Upstream) -> None:
    bench.both(blue, green, sticky=True)
    bench.set_traffic(Live("blue", 1000, 0, 7))
    cookies = [get(bench.port).cookie for _ in range(150)]
    mint = Mint(bench, 7)
    on_candidate: set[str] = set()
    for share in (1000, 2500, 5000, 9900, 10000):
        bench.set_traffic(Live("blue", share, 0, 7))
        answers = {c: get(bench.port, headers={"cookie": f"a=b; {c}"}) for c in cookies}
        now = {c for c, answer in answers.items() if answer.who == "g1"}
        expected = {c for c in cookies if mint.roll(c) < share * 100}
        assert now == expected, "the proxy does not go by the roll of the cookie"
        assert on_candidate <= now, f"moved back at {share}: {on_candidate - now}"
        assert not any(answer.cookie for answer in answers.values()), "a known client was given a new roll"
        on_candidate = now


def test_another_rollout_draws_anew_and_no_cookie_is_given_outside_of_one(
    bench: Bench, blue: Upstream, green: Upstream
) -> None:
    bench.both(blue, green, sticky=True)
    assert get(bench.port).cookie == ""
    bench.set_traffic(Live("blue", 5000, 0, 8))
    former = Mint(bench, 7).cookie(0, 1_000_000)
    assert Mint(bench, 8).roll(get(bench.port, headers={"cookie": former}).cookie) >= 0
    full = get(bench.port).headers["set-cookie"]
    assert [p.strip() for p in full.split(";")[1:]] == ["Path=/", "HttpOnly", "SameSite=Lax"]


@pytest.mark.parametrize(
    ("method", "path", "given"),
    [
        ("GET", "/", True),
        ("GET", "/typed?type=text/html;charset=utf-8&cache=max-age=60", True),
        ("GET", "/typed?type=text/css", False),
        ("GET", "/typed?type=application/json", False),
        ("GET", "/typed?type=text/html&cache=public,max-age=60", False),
        ("GET", "/typed?type=text/html&cache=s-maxage=60", False),
        ("GET", "/typed?type=application/json&cache=no-store", True),
        ("GET", "/typed?type=application/json&cache=private", True),
        ("POST", "/typed?type=application/json", True),
    ],
)
def test_a_cookie_comes_only_with_what_no_shared_cache_keeps(
    bench: Bench, blue: Upstream, green: Upstream, method: str, path: str, given: bool
) -> None:
    bench.both(blue, green, sticky=True)
    bench.set_traffic(Live("blue", 5000, 0, 7))
    answer = get(bench.port, path, method=method)
    assert answer.status == 200
    assert bool(answer.cookie) == given


@pytest.mark.parametrize(
    "forged", ["7-1", "", ".", f".{MAC}", f"{ID}.{MAC}", f"{ID}.{'z' * 32}", f"{ID}-{MAC}", f"{ID}.{MAC}0"]
)
def test_a_forged_cookie_is_worth_nothing(bench: Bench, blue: Upstream, green: Upstream, forged: str) -> None:
    """Each time another client is drawn: whoever asks cannot choose, nor keep, a side with it."""
    bench.both(blue, green, sticky=True)
    bench.set_traffic(Live("blue", 5000, 0, 7))
    answers = [get(bench.port, headers={"cookie": f"deployer-shop={forged}"}) for _ in range(40)]
    assert {answer.status for answer in answers} == {200}
    assert {answer.who for answer in answers} == {"b1", "g1"}
    mint = Mint(bench, 7)
    assert len({mint.roll(answer.cookie) for answer in answers}) > 30


def test_a_cookie_is_of_one_service_in_one_rollout_and_nothing_of_it_can_be_changed(
    bench: Bench, blue: Upstream, green: Upstream
) -> None:
    bench.both(blue, green, sticky=True)
    bench.put("blue", blue, service="api", path="/api", sticky=True)
    bench.set_traffic(Live("blue", 5000, 0, 7))
    cookie = get(bench.port).cookie
    assert get(bench.port, headers={"cookie": cookie}).cookie == ""
    id_, _, mac = cookie.partition("=")[2].partition(".")
    foreign = Mint(bench, 7, "api").cookie(0, 1_000_000).replace("-api", "-shop")
    swapped = f"deployer-shop={id_[::-1]}.{mac}"
    for other in (foreign, swapped, cookie.lower(), Mint(bench, 6).cookie(0, 1_000_000)):
        assert get(bench.port, headers={"cookie": other}).cookie not in ("", other)


def test_a_cookie_is_found_among_others(bench: Bench, blue: Upstream, green: Upstream) -> None:
    bench.both(blue, green, sticky=True)
    bench.set_traffic(Live("blue", 5000, 0, 1))
    mint = Mint(bench, 1)
    low, high = mint.cookie(0, 500_000), mint.cookie(500_000, 1_000_000)
    for cookie, who in ((low, "g1"), (high, "b1")):
        other = high if cookie == low else low
        beside = f"deployer-shop2=1; xdeployer-shop={other.partition('=')[2]}; a=deployer-shop=1"
        for cookies in (f"{beside}; {cookie}", f"{cookie}; {beside}", f"{beside};{cookie};b=2", cookie):
            answer = get(bench.port, headers={"cookie": cookies})
            assert (answer.who, answer.cookie) == (who, ""), cookies


def test_the_key_is_in_no_line_and_for_its_owner_alone(bench: Bench, blue: Upstream, green: Upstream) -> None:
    bench.root.parent.chmod(0o755)
    bench.both(blue, green, sticky=True)
    key = Spec.model_validate_json(bench.traffic.membership.spec("shop") or "").key
    having = [path for path in bench.root.rglob("*") if path.is_file() and key in path.read_text(errors="replace")]
    assert sorted(path.name for path in having) == ["keys.map", "shop.json"]
    assert {path.stat().st_mode & 0o777 for path in having} == {0o600}


def test_a_client_keeps_its_side_over_a_reload_and_a_restart(bench: Bench, blue: Upstream, green: Upstream) -> None:
    bench.both(blue, green, sticky=True)
    bench.set_traffic(Live("blue", 5000, 0, 7))
    cookies = [{"cookie": get(bench.port).cookie} for _ in range(20)]
    before = [get(bench.port, headers=cookie).who for cookie in cookies]
    bench.put("blue", blue, service="api", path="/api")  # that reloads
    again = [get(bench.port, headers=cookie) for cookie in cookies]
    assert [answer.who for answer in again] == before
    assert not any(answer.cookie for answer in again)


def test_header_and_cookie_force_a_side_at_any_share(bench: Bench, blue: Upstream, green: Upstream) -> None:
    bench.both(blue, green, force={"header": "X-Side", "cookie": "side"})
    for share, stable in ((0, "b1"), (10000, "b1")):
        bench.set_traffic(Live("blue", share, 0, 3))
        usual = "b1" if share == 0 else "g1"
        assert get(bench.port, headers={"X-Side": "candidate"}).who == "g1"
        assert get(bench.port, headers={"X-Side": "stable"}).who == stable
        assert get(bench.port, headers={"cookie": "side=candidate"}).who == "g1"
        assert get(bench.port, headers={"cookie": "side=candidate", "X-Side": "stable"}).who == "b1"
        assert get(bench.port, headers={"X-Side": "green"}).who == usual
        assert get(bench.port, headers={"cookie": "side=1"}).who == usual


def test_a_forced_side_that_is_not_there_is_not_forced(bench: Bench, blue: Upstream) -> None:
    bench.put("blue", blue, force={"header": "X-Side"})
    bench.set_traffic(Live("blue", 0, 0, 3))
    assert get(bench.port, headers={"X-Side": "candidate"}).who == "b1"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_who_chooses_a_candidate_that_is_gone_gets_stable(
    bench: Bench, blue: Upstream, green: Upstream, method: str
) -> None:
    bench.both(blue, green, force={"header": "X-Side"})
    green.stop()
    within().until(lambda: not any(up for _, up in bench.traffic.servers("shop", "green")), "the proxy sees it")
    answer = get(bench.port, "/headers", headers={"x-side": "candidate", "x-deployer-to": "nowhere"}, method=method)
    assert answer.who == "b1"
    assert json.loads(answer.body)["x-forwarded-for"] == "127.0.0.1"
    assert not [name for name in (*answer.headers, *json.loads(answer.body)) if name.startswith("x-deployer")]


def test_networks_get_the_candidate_as_soon_as_users_are_let_in(bench: Bench, blue: Upstream, green: Upstream) -> None:
    bench.both(blue, green, force={"networks": ["127.0.0.0/8", "fd00::/8"]})
    bench.set_traffic(Live("blue", 1, 0, 3))
    assert {get(bench.port).who for _ in range(20)} == {"g1"}
    bench.set_traffic(Live("blue", 0, 0, 3))
    assert {get(bench.port).who for _ in range(20)} == {"b1"}


def test_the_preview_reaches_the_candidate_before_any_user(bench: Bench, blue: Upstream, green: Upstream) -> None:
    bench.both(blue, green, domains=["shop.example.com"], path="/api")
    base, headers = bench.traffic.preview("shop")
    assert base == f"http://127.0.0.1:{bench.port}"
    assert get(bench.port, "/api/x", headers).who == "g1"
    assert get(bench.port, "/", headers).who == "g1", "also where the path is another service's"
    assert "x-deployer-preview" not in get(bench.port, "/headers", headers).body
    wrong = {**headers, "x-deployer-preview": "guess.shop"}
    assert get(bench.port, "/api/x", wrong).who == "b1"
    wrong = {**headers, "x-deployer-preview": "guess.shop"}
    assert get(bench.port, "/", wrong).status == 404
    assert (bench.root / "preview.token").stat().st_mode & 0o777 == 0o600


def test_a_share_ends_with_its_lease_although_nobody_does_anything(
    bench: Bench, blue: Upstream, green: Upstream
) -> None:
    bench.both(blue, green)
    with bench.traffic.samples("shop") as samples:
        bench.set_traffic(Live("blue", 10000, int(time.time()) + 600, 4))
        assert get(bench.port).who == "g1"
        assert samples.take().share == 10000
        end = int(time.time()) + 2
        bench.set_traffic(Live("blue", 10000, end, 4))

        def back() -> bool:
            asked = time.time()
            who = get(bench.port).who
            assert who == "b1" or asked <= end + 1.5, "who comes after the end of the lease gets stable"
            return who == "b1"

        within().until(back, "the lease runs out")
        assert end - 1 <= time.time()
        assert samples.take().share == 0
    assert bench.traffic.read("shop") == Live("blue", 10000, end, 4)


def test_users_are_never_sent_to_a_side_without_a_server_that_is_up(
    bench: Bench, blue: Upstream, green: Upstream
) -> None:
    bench.put("blue", blue)
    bench.set_traffic(Live("blue"))
    with pytest.raises(DriverFailed, match="no server of green is up"):
        bench.set_traffic(Live("blue", 1, 0, 1))
    with pytest.raises(DriverFailed, match="no server of green is up"):
        bench.set_traffic(Live("green", 0, 0, 1))
    assert bench.traffic.read("shop") == Live("blue")
    bench.put("green", green)
    bench.set_traffic(Live("blue", 5000, 0, 1))
    blue.stop()
    within().until(lambda: not bench.traffic.servers("shop", "blue")[0][1], "the proxy sees that blue is down")
    with pytest.raises(DriverFailed, match="no server of blue is up"):
        bench.set_traffic(Live("blue", 0, 0, 1))
    bench.set_traffic(Live("blue", 5000, int(time.time()) + 60, 1))  # renewing a lease moves nobody
    bench.set_traffic(Live("blue", 10000, 0, 1))
    green.stop()
    within().until(lambda: not bench.traffic.servers("shop", "green")[0][1], "the proxy sees that green is down")
    bench.set_traffic(Live("blue", 0, 0, 1))  # with both dead nothing is lost by going back


def test_a_share_out_of_range_is_refused(bench: Bench, blue: Upstream) -> None:
    bench.put("blue", blue)
    bench.set_traffic(Live("blue"))
    for live in (Live("blue", -1), Live("blue", 10001), Live("blue", 0, -5), Live("blue", 0, 0, -1)):
        with pytest.raises(DriverFailed):
            bench.set_traffic(live)
    assert bench.traffic.read("shop") == Live("blue")


def test_a_tcp_service_has_no_preview(bench: Bench, blue: Upstream) -> None:
    bench.put("blue", blue, mode="tcp")
    with pytest.raises(Refused, match="no preview"):
        bench.traffic.preview("shop")
