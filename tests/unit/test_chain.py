"""One side through a chain, without a proxy: what is written for it, how arrivals are counted, when a side is lost."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deployer.app.wiring import open_house
from deployer.core.events import Event
from deployer.core.host import ServiceHosts
from deployer.drivers.traffic.haproxy import chain, frontend
from deployer.drivers.traffic.haproxy.layout import Home
from deployer.drivers.traffic.haproxy.render import render
from deployer.drivers.traffic.haproxy.request_counter import RequestCounter
from deployer.drivers.traffic.haproxy.spec import Spec, configured
from deployer.drivers.traffic.proxies.protocol import ReleaseMessage
from deployer.engine.lost_sides import LEAST, LostSides
from deployer.evidence.recording_format import packed, unpacked
from deployer.manifest.models import Manifest
from deployer.model import Arrived, Live
from deployer.views import plain
from deployer.views.why import why
from tests.unit.test_haproxy_render import HOME, KEY, spec, written

GOLDEN = Path(__file__).parent.parent / "golden" / "haproxy-chain"
CHAIN_KEY = chain.key_of("the secret of the golden files")


def linked(service: str, **traffic: Any) -> Spec:
    return spec(service, domains=[f"{service}.example.com"], **traffic).model_copy(update={"chain_key": CHAIN_KEY})


def three() -> tuple[Spec, ...]:
    return (
        linked("frontend", chain="shop", force={"header": "X-Canary"}),
        linked("backend", chain={"name": "shop", "callers": ["frontend"]}, force={"networks": ["10.0.0.0/8"]}),
        linked("mailer", sticky=False, chain={"name": "shop", "callers": ["backend"], "without_side": "stable"}),
        spec("alone", domains=["alone.example.com"]),
    )


def test_the_golden_files() -> None:
    """Set GOLDEN=write to write them anew; read the difference before you commit it."""
    files = written(render(three(), HOME, own=True))
    if os.environ.get("GOLDEN") == "write":
        GOLDEN.mkdir(exist_ok=True)
        for name, text in files.items():
            (GOLDEN / name).write_text(text)
    assert {path.name: path.read_text() for path in GOLDEN.iterdir()} == files


def test_nothing_of_it_is_written_for_services_without_a_chain() -> None:
    bare = render([spec("alone")], HOME, own=True)
    beside = render([spec("alone"), linked("queue", listen="*:81", chain="shop")], HOME, own=True)
    text = "".join(written(bare).values())
    assert "deployer-side" not in text
    assert ".chain" not in text
    assert text.split("\nbackend ")[1] == "".join(written(beside).values()).split("\nbackend ")[1]


def test_the_keys_are_private_and_those_of_one_chain_are_one(tmp_path: Path) -> None:
    house = open_house(tmp_path)
    try:
        keys = []
        for name, service in (("shop", "a"), ("shop", "b"), ("other", "c")):
            manifest = Manifest.model_validate(
                {"service": service, "image": "a:1", "port": 80, "traffic": {"chain": name}}
            )
            traffic: Any = house.wire(manifest, tmp_path, ServiceHosts()).traffic
            keys.append(traffic._chain_key)
    finally:
        house.close()
    assert keys[0] == keys[1] != keys[2]
    assert len(keys[0]) == len(KEY)
    home = Home(tmp_path / "proxy", tmp_path / "proxy" / "haproxy.cfg")
    home.create()
    for path, text in render(three(), home, own=True).others.items():
        home.write(path, text)
    assert home.keys.stat().st_mode & 0o777 == 0o600
    assert f"backend.chain {CHAIN_KEY}" in home.keys.read_text()
    assert CHAIN_KEY not in repr(three())


def test_a_candidate_brings_its_chain_with_its_colour() -> None:
    before = spec("backend")
    manifest = Manifest.model_validate(
        {"service": "backend", "image": "a:2", "port": 80, "traffic": {"chain": {"name": "shop", "callers": ["a"]}}}
    )
    known = configured(before, "backend", manifest, "green")
    assert frontend.option_values(known).endswith("|inner")
    assert frontend.option_values(before).count("|") + 1 == frontend.option_values(known).count("|")


def test_a_release_takes_its_chain_to_a_proxy_elsewhere() -> None:
    manifest = Manifest.model_validate(
        {"service": "b", "image": "a:2", "port": 80, "traffic": {"chain": {"name": "shop", "callers": ["a"]}}}
    )
    assert manifest.traffic.chain
    assert Manifest.from_record(manifest.record()).traffic.chain == manifest.traffic.chain
    assert ReleaseMessage("b", 1, manifest.record()).release().manifest == manifest
    assert manifest.traffic.counts_clients


# -- how requests arrive


def came(side: str, carried: str, *, how: str = "-", service: str = "shop", roll: int = 7) -> bytes:
    return f"{service} {side} blue,1000,0,7,0,0,0,0 {how} - 200 -- 0 {roll},11,{carried} 900 120 900".encode()


def test_arrivals_are_counted_by_the_side_that_they_carry() -> None:
    counter = RequestCounter("shop")
    counter.feed(
        [
            *[came("-", "side", roll=n) for n in range(5)],
            *[came("green", "side", roll=n) for n in range(3)],
            came("green", "lost"),
            came("-", "lost", how="forced"),
            came("green", "side", how="forced"),
            came("-", "-"),
            came("-", "lost", service="other"),
        ]
    )
    sample = counter.take(1000)
    assert sample.arrived == Arrived(stable=5, candidate=3, without=2)
    assert unpacked(packed(sample)) == sample
    assert counter.take(1000).arrived == Arrived()


def test_a_client_counts_once_whatever_it_calls() -> None:
    counter = RequestCounter("shop")
    counter.feed([came("-", "side", roll=900_000)] * 40 + [came("green", "side", roll=5)] * 40)
    (coins,) = counter.take(1000).coins
    assert (coins.p, coins.stable.requests, coins.candidate.requests) == (0.1, 1, 1)


# -- when a side is lost


class Told(list[dict[str, Any]]):
    def __call__(self, kind: str, **data: Any) -> None:
        assert kind == "side.lost"
        self.append(data)


def lost(read: Callable[[str], Live | None]) -> tuple[LostSides, Told]:
    told = Told()
    return LostSides("backend", ("frontend",), read, told), told


def test_a_loss_is_told_with_its_figures_and_again_when_there_is_more() -> None:
    sides, told = lost(lambda _: Live("blue", 1000, 0, 3))
    for arrived in (Arrived(0, 0, 500), Arrived(324, 36, 2640)):
        sides.look(arrived)
    (data,) = told
    assert data["text"].startswith(
        "side is lost between frontend and backend: 1.2% of 3,000 requests arrive for the candidate instead of 10%,"
        " 2,640 carry no side; "
    )
    sides.tell_more()
    assert len(told) == 1
    sides.look(Arrived(0, 0, 10))
    sides.tell_more()
    assert [d["without"] for d in told] == [2640, 2650]
    assert plain.sentence(Event("side.lost", 1.0, "backend", 7, told[1])) == told[1]["text"]
    found = why({"event": "side.lost", "at": n, **d} for n, d in enumerate(told))
    assert [(t.kind, t.text) for t in found.trips] == [("side", told[1]["text"])]


@pytest.mark.parametrize(
    ("share", "arrived", "is_told"),
    [
        (1000, Arrived(900, 100, 49), False),  # under 5%
        (1000, Arrived(900, 100, 60), True),
        (100, Arrived(990, 0, 10), False),  # too few
        (100, Arrived(9900, 0, 100), True),  # all of the candidate's
        (0, Arrived(0, 0, 5000), False),  # no caller stamps
        (None, Arrived(0, 0, 5000), False),  # as far as is known
        (None, Arrived(2500, 0, 2500), True),
    ],
)
def test_what_is_a_loss(share: int | None, arrived: Arrived, is_told: bool) -> None:
    sides, told = lost(lambda _: None if share is None else Live("blue", share, 0, 3))
    sides.look(arrived)
    assert not told, "requests may be from before the share"
    sides.look(arrived)
    assert bool(told) == is_told
    assert LEAST > 10


def test_another_rollout_of_a_caller_is_counted_for_itself() -> None:
    live = [Live("blue", 1000, 0, 3)]
    sides, told = lost(lambda _: live[0])
    for _ in range(2):
        sides.look(Arrived(9000, 1000, 0))
    live[0] = Live("blue", 1000, 0, 4)
    sides.look(Arrived(0, 0, 100))
    sides.look(Arrived(900, 0, 100))
    assert [(d["requests"], d["without"]) for d in told] == [(1000, 100)]


def test_another_share_of_a_caller_is_counted_for_itself() -> None:
    live = [Live("blue", 1000, 0, 3)]
    sides, told = lost(lambda _: live[0])
    for _ in range(2):
        sides.look(Arrived(9000, 1000, 0))
    live[0] = Live("blue", 100, 0, 3)
    for _ in range(2):
        sides.look(Arrived(900, 0, 100))
    assert [(d["requests"], d["without"], d["share"]) for d in told] == [(1000, 100, 100)]


def test_looks_without_any_side_count_with_the_next_that_has_one() -> None:
    """Of callers behind another proxy, of whose requests few bring their side."""
    sides, told = lost(lambda _: None)
    for _ in range(3):
        sides.look(Arrived(1, 0, 2))
        for _ in range(3):
            sides.look(Arrived(0, 0, 3))
    assert [(d["requests"], d["without"]) for d in told] == [(24, 22)]


def test_many_requests_without_any_side_are_no_loss_where_nobody_knows_whether_callers_stamp() -> None:
    sides, told = lost(lambda _: None)
    for _ in range(3):
        sides.look(Arrived(900, 100, 0))
    for _ in range(10):
        sides.look(Arrived(0, 0, 100))
    for _ in range(3):
        sides.look(Arrived(900, 100, 0))
    assert told == []


@pytest.mark.parametrize("other", [Live("blue", 0, 0, 5), None], ids=["in no rollout", "behind another proxy"])
def test_while_a_caller_may_not_stamp_only_a_total_loss_is_told(other: Live | None) -> None:
    told = Told()
    live = {"frontend": Live("blue", 1000, 0, 3), "cron": other}
    sides = LostSides("backend", ("frontend", "cron"), live.get, told)
    for _ in range(5):
        sides.look(Arrived(90, 10, 500))
    assert told == []
    live["frontend"] = Live("blue", 1000, 0, 4)
    for _ in range(2):
        sides.look(Arrived(0, 0, 100))
    assert [(d["requests"], d["without"]) for d in told] == [(100, 100)]


def test_nothing_is_asked_where_no_side_is_expected() -> None:
    def never(_: str) -> Live:
        raise AssertionError("asked")

    sides, told = lost(never)
    sides.look(Arrived())
    assert told == []
