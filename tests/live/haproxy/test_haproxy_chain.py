"""One side through a chain: what the entry stamps, and what services behind it make of a stamp."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import sqrt
from typing import Any

import pytest

from deployer.drivers.ports import Samples
from deployer.model import Arrived, Live, Sample
from tests.live.client import Answer, get
from tests.live.minting import Mint
from tests.live.proxies import Bench
from tests.live.upstream import Upstream
from tests.waiting import within

pytestmark = pytest.mark.live

FRONT: dict[str, Any] = {"domains": ["front"], "chain": "shop"}
BACK: dict[str, Any] = {"domains": ["back"]}
TEN = Live("blue", 1000, 0, 7)
SIDE = "X-Deployer-Side"


@dataclass
class Chain:
    """Two services at one address, `shop` in front of `back`; the test is the application between them."""

    bench: Bench
    front: tuple[Upstream, Upstream]
    back: tuple[Upstream, Upstream]

    def put(self, front: Live, back: Live, **chain: str) -> None:
        self.bench.both(*self.front, **FRONT, sticky=True)
        self.bench.both(*self.back, service="back", **BACK, chain={"name": "shop", "callers": ["shop"], **chain})
        self.set(front, back)

    def set(self, front: Live, back: Live) -> None:
        self.bench.set_traffic(front)
        self.bench.set_traffic(back, "back")

    def ask(self, service: str, path: str = "/headers", **headers: str) -> Answer:
        return get(self.bench.port, path, {"host": "front" if service == "shop" else service, **headers})

    def sent(self, service: str, **headers: str) -> dict[str, str]:
        """Return what an instance of a service gets."""
        found: dict[str, str] = json.loads(self.ask(service, **headers).body)
        return {name.lower(): value for name, value in found.items()}

    def stamp(self, said: str, roll: int = 5, share: int = 1000, at: float | None = None) -> str:
        """Return a stamp as an entry makes it."""
        claim = f"{said}.{roll}.{share}.17.{int(time.time() if at is None else at)}"
        tag = hmac.digest(base64.b64decode(self.bench.chain_key), claim.encode(), hashlib.sha256)
        return f"{claim}.{tag[:16].hex().upper()}"

    def who(self, stamp: str) -> str:
        """Return which instance behind answers a request with this stamp."""
        return self.ask("back", "/", **{SIDE: stamp}).who


@pytest.fixture
def chain(bench: Bench, blue: Upstream, green: Upstream) -> Iterator[Chain]:
    with Upstream("b2") as b2, Upstream("g2") as g2:
        yield Chain(bench, (blue, green), (b2, g2))


def test_a_client_has_one_side_in_both(chain: Chain) -> None:
    chain.put(TEN, TEN)
    seen: Counter[str] = Counter()
    for _ in range(300):
        front = chain.ask("shop")
        stamp = json.loads(front.body)[SIDE.lower()]
        seen[front.who + chain.who(stamp)] += 1
    assert seen.keys() == {"b1b2", "g1g2"}, seen
    assert abs(seen["g1g2"] - 30) <= 4.5 * sqrt(300 * 0.1 * 0.9), seen


def test_baggage_alone_carries_it_and_keeps_what_others_put_there(chain: Chain) -> None:
    chain.put(replace(TEN, share=10000), TEN)
    given = chain.sent("shop", baggage="tenant=acme;ttl=1, trace=2")["baggage"]
    assert given.startswith("tenant=acme;ttl=1, trace=2,deployer-side=candidate.drawn."), given
    assert chain.ask("back", "/", baggage=given).who == "g2"
    again = chain.sent("back", baggage=given)
    assert again["baggage"] == given
    assert again[SIDE.lower()] == given.rpartition("=")[2]


@pytest.mark.parametrize("share", [0, 1], ids=["no rollout in front", "a rollout in front"])
def test_what_a_client_sends_as_a_side_does_not_pass_the_entry(chain: Chain, share: int) -> None:
    """Not even one that an entry made just now: an application may have shown it to somebody."""
    chain.put(replace(TEN, share=share), TEN)
    true = chain.stamp("candidate.drawn")
    assert chain.who(true) == "g2", "behind the entry it counts"
    sent = chain.sent("shop", **{SIDE: true, "X_Deployer_Side": true, "baggage": f"a=1, deployer-side={true};p=1 ,b=2"})
    assert not any(true in value for value in sent.values()), sent
    assert "x_deployer_side" not in sent
    assert sent["baggage"].startswith("a=1,")
    assert sent["baggage"].endswith(",b=2")
    for name in ("x_deployer_side", "x-deployer_side", "x_deployer-side"):
        sent = chain.sent("shop", **{name: true})
        assert name not in sent
        assert true not in sent.values()
    for name in ("deployer%2Dside", "%64eployer-side", "a=1, deployer-sid%65 ", "+deployer-side", "deployer-side +"):
        sent = chain.sent("shop", baggage=f"{name}={true}, b=50%")
        assert not any(true in value for value in sent.values()), (name, sent)
        assert sent["baggage"].startswith("a=1,deployer-side=" if name.startswith("a=1") else "deployer-side="), sent
        assert sent["baggage"].endswith(", b=50%"), sent
    sent = chain.sent("shop", baggage=f'a="1,deployer-side={true}')
    assert not any(true in value for value in sent.values()), sent


@pytest.mark.parametrize("others", ["my-deployer-side=1", "a=deployer-side", "deployer-side-of-mine=1"])
def test_a_member_that_only_has_the_name_in_it_does_not_keep_the_stamp_out(chain: Chain, others: str) -> None:
    chain.put(replace(TEN, share=10000), TEN)
    sent = chain.sent("shop", baggage=others)
    assert sent["baggage"] == f"{others},deployer-side={sent[SIDE.lower()]}"
    assert chain.ask("back", "/", baggage=sent["baggage"]).who == "g2"


def test_a_stamp_that_nobody_made_chooses_nothing(chain: Chain) -> None:
    chain.put(TEN, replace(TEN, share=1))
    true = chain.stamp("candidate.drawn")
    assert chain.who(true) == "g2"
    forged = [
        true.replace("candidate", "stable").replace("stable", "candidate", 1)[:-1] + "X",
        chain.stamp("stable.drawn", 900_000).replace("stable", "candidate").replace("900000", "5"),
        true.rpartition(".")[0],
        true.rpartition(".")[0] + ".",
        chain.stamp("candidate.drawn", at=time.time() - 310),
        "candidate",
        "candidate.forced",
        "candidate.forced.5.1000.17.9999999999." + "0" * 32,
        "x" * 5000,
    ]
    for each in forged:
        assert chain.who(each) == "b2", each
        assert chain.ask("back", "/", baggage=f"deployer-side={each}").who == "b2", each
        assert chain.sent("back", **{SIDE: each})[SIDE.lower()].startswith("stable.drawn."), each


def test_stable_for_all_whose_service_has_no_candidate(chain: Chain) -> None:
    chain.put(TEN, replace(TEN, share=0))
    stamp = chain.stamp("candidate.drawn")
    assert chain.who(stamp) == "b2"
    assert chain.sent("back", **{SIDE: stamp})[SIDE.lower()] == stamp, "for services behind, which may have one"
    chain.set(TEN, replace(TEN, lease=int(time.time()) - 1))
    assert chain.who(stamp) == "b2", "its lease is over"
    assert chain.sent("back", **{SIDE: stamp})[SIDE.lower()].startswith("stable.forced.")
    chain.set(TEN, Live("green", 0, 0, 7, warm=3))
    assert chain.who(stamp) == "g2", "promoted here, and not yet in front"


@pytest.mark.long("several settings of two services")
def test_who_chose_at_the_entry_chose_for_all(chain: Chain) -> None:
    chain.put(TEN, replace(TEN, share=0))
    chain.bench.both(*chain.front, **FRONT, force={"header": "X-Canary"})
    chain.set(replace(TEN, share=0), replace(TEN, share=0))
    stamp = chain.sent("shop", **{"X-Canary": "candidate"})[SIDE.lower()]
    assert stamp.startswith("candidate.forced.")
    assert chain.who(stamp) == "g2", "before any user"
    assert chain.ask("back", "/", baggage=f"deployer-side={stamp}").who == "g2"
    assert chain.ask("back", "/", baggage=f"a=1, deployer-side =  {stamp}").who == "g2"
    base, headers = chain.bench.traffic.preview("shop")
    assert base.endswith(str(chain.bench.port))
    assert chain.who(chain.sent("shop", **headers)[SIDE.lower()]) == "g2", "smoke tests go through the chain"
    chain.set(TEN, replace(TEN, warm=3, share=0))
    assert chain.who(stamp) == "b2", "the other side is a former release"
    chain.bench.traffic.detach("back", "green", [chain.back[1].name], within())
    chain.set(TEN, replace(TEN, share=0))
    assert chain.who(stamp) == "b2", "there is no candidate"


def test_without_a_side_only_the_entry_draws_if_so_wanted(chain: Chain) -> None:
    chain.put(TEN, replace(TEN, share=9999), without_side="stable")
    with chain.bench.traffic.samples("back") as samples:
        assert {chain.ask("back", "/").who for _ in range(20)} == {"b2"}
        assert chain.who(chain.stamp("candidate.drawn")) == "g2"
        seen = gathered(samples, 21)
    assert seen.arrived == Arrived(candidate=1, without=20)
    assert (seen.stable.requests, seen.candidate.requests) == (0, 1), "nobody drew for those without a side"
    assert chain.sent("back")[SIDE.lower()].startswith("stable.forced.")


def test_the_judge_sees_each_client_once_with_the_share_that_drew_its_side(chain: Chain) -> None:
    """A client that came at 25% in front is evidence of 25%, also where the share behind is another one."""
    chain.put(TEN, TEN)
    with chain.bench.traffic.samples("back") as samples:
        for roll in (5, 6, 5, 240_000, 240_000, 900_000, 900_000):
            stamp = chain.stamp("candidate.drawn" if roll < 250_000 else "stable.drawn", roll, 2500)
            assert chain.who(stamp) == ("g2" if roll < 250_000 else "b2")
        for _ in range(3):
            chain.ask("back", "/")
        seen = gathered(samples, 10)
    assert seen.arrived == Arrived(stable=2, candidate=5, without=3)
    of_front = next(coins for coins in seen.coins if coins.p == 0.25)
    assert (of_front.stable.requests, of_front.candidate.requests) == (1, 3)


@pytest.mark.long("a candidate that hangs, and one that is gone")
def test_what_stable_answers_in_place_of_a_candidate_calls_stable(chain: Chain) -> None:
    chain.put(replace(TEN, share=10000), TEN)
    chain.bench.both(*chain.front, **FRONT, shield={"methods": ["GET"], "timeout": "500ms"})
    chain.set(replace(TEN, share=10000), TEN)
    chain.front[1].hangs = True
    answer = chain.ask("shop", baggage="a=1")
    assert answer.who == "b1", "stable answered what the candidate did not"
    sent = {name.lower(): value for name, value in json.loads(answer.body).items()}
    assert sent[SIDE.lower()].startswith("stable.forced.")
    assert sent["baggage"] == f"a=1,deployer-side={sent[SIDE.lower()]}"
    assert "x-deployer-spare" not in sent
    assert chain.who(sent[SIDE.lower()]) == "b2"
    chain.bench.traffic.detach("shop", "green", [chain.front[1].name], within())
    gone = chain.sent("shop")
    assert gone[SIDE.lower()].startswith("stable.forced."), "its candidate has no instance"
    assert "x-deployer-spare" not in gone


def test_a_sticky_client_brings_its_roll(chain: Chain) -> None:
    chain.put(TEN, TEN)
    cookie = Mint(chain.bench, 7).cookie(0, 100_000)
    roll = Mint(chain.bench, 7).roll(cookie)
    for _ in range(3):
        side, how, of_client, share, *_ = chain.sent("shop", cookie=cookie)[SIDE.lower()].split(".")
        assert (side, how, int(of_client), share) == ("candidate", "drawn", roll, "1000")


def gathered(samples: Samples, requests: int) -> Sample:
    """Take samples until all requests have arrived in them."""
    seen = samples.take()

    def all_there() -> bool:
        nonlocal seen
        seen += samples.take()
        return seen.arrived.all >= requests

    within().until(all_there, f"{requests} lines", every=0.02)
    return seen
