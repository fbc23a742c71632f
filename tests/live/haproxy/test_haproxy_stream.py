"""The request stream when it is hard: many readers, a reader that lags, one that is let go, more than one proxy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from deployer.core.clock import SystemClock
from deployer.core.errors import DriverFailed
from deployer.drivers.traffic.haproxy import render
from deployer.drivers.traffic.haproxy.request_counter import RequestCounter
from deployer.drivers.traffic.haproxy.request_stream import Counted, RequestStream, counted
from deployer.drivers.traffic.haproxy.spec import Spec
from deployer.model import Live
from tests.live.client import burst, get
from tests.live.minting import Mint
from tests.live.proxies import Bench
from tests.live.seen import Seen
from tests.live.upstream import Upstream
from tests.waiting import within

pytestmark = pytest.mark.live


class Reader(Counted):
    """A reader of one proxy, and what it counts with."""

    def __init__(self, tally: RequestCounter, stream: RequestStream) -> None:
        super().__init__(tally, [stream])
        self.tally = tally


def stream(bench: Bench, tally: RequestCounter) -> RequestStream:
    return RequestStream("shop", bench.traffic.parts.proxy, SystemClock(), lambda: 3000, tally)


@contextmanager
def reading(bench: Bench) -> Iterator[Reader]:
    tally = RequestCounter("shop")
    with stream(bench, tally) as opened:
        yield Reader(tally, opened)


@contextmanager
def held(reader: Reader) -> Iterator[None]:
    """Keep it from reading on, as a process that is stopped."""
    with reader.tally._lock:
        yield


def test_as_many_readers_as_there_are_rollouts_leave_room_for_commands(
    bench: Bench, blue: Upstream, green: Upstream
) -> None:
    bench.both(blue, green)
    with ExitStack() as readers:
        streams = [readers.enter_context(reading(bench)) for _ in range(40)]
        live = Live("blue", 10000, 0, 1)
        bench.traffic.set_traffic("shop", live, within())
        assert bench.traffic.read("shop") == live
        assert get(bench.port).who == "g1"
        for seen in map(Seen, streams):
            within().until(lambda: seen.requests() == 1, "each is told")  # noqa: B023 -- called at once


def test_a_reader_that_lags_is_told_how_much_it_missed(
    bench: Bench, blue: Upstream, green: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render, "SHARED", render.SHARED.replace("size 8388608", "size 65536"))
    bench.both(blue, green)
    bench.set_traffic(Live("blue", 3000, 0, 1))
    sent = 8_000
    with reading(bench) as reader:
        with held(reader):
            burst(bench.port, sent)
        seen = Seen(reader)
        within().until(lambda: seen.requests() > 0, "the rest is told")

        def all_known() -> bool:
            nonlocal sent
            get(bench.port)  # the proxy tells of a gap with the next line that it can write
            sent += 1
            return within(1.0).wait(lambda: seen.requests() + seen.lost == sent)  # that one's line, too

        within().until(all_known, "told or known to be missing")
    assert seen.lost > 1000


def test_a_reader_that_was_let_go_comes_back_and_is_told_nothing_twice(
    bench: Bench, blue: Upstream, green: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render, "COMMANDS", f"{render.COMMANDS}  stats timeout 200ms\n")  # ten seconds by default
    bench.both(blue, green)
    bench.set_traffic(Live("blue", 3000, 0, 1))
    sent = 6_000  # the ring holds them all; what the kernel keeps for the reader is less
    with reading(bench) as stopped, reading(bench) as other:
        kept = Seen(other)
        with held(stopped):
            burst(bench.port, sent)
            worker = bench.master.current(within())[0]
            within().until(lambda: _readers(bench, worker) == 1, "the proxy lets it go")
        within().until(lambda: kept.requests() == sent, "the other one is told all of it")
        within().until(lambda: _readers(bench, worker) == 2, "it comes back")
        seen, asked = Seen(stopped), 0

        def told(of: int) -> bool:
            nonlocal asked
            get(bench.port)
            asked += 1
            return seen.requests() >= before + of

        within().until(lambda: seen.requests() > 0 and seen.lost > 0, "it is told that it missed something")
        before = seen.requests()  # all that the kernel had kept for it: the old line was read to its end
        within().until(lambda: told(1), "it is told what comes now")
        within().until(lambda: told(4), "and what comes then")
        within().until(lambda: kept.requests() == sent + asked, "the other one is told all of it")
    assert seen.requests() <= before + asked, "nothing is told twice"
    assert before < sent, "what it missed is not told later, nor twice"
    assert kept.lost == 0


def _readers(bench: Bench, worker: object) -> int:
    sessions = bench.master.run(worker, "show sess")  # type: ignore[arg-type]
    return sum("fe=GLOBAL" in line and "proto=unix_stream" in line for line in sessions.splitlines())


def test_a_reader_that_ended_is_no_silence(bench: Bench, blue: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.put("blue", blue)
    bench.set_traffic(Live("blue"))

    def broken(_: object) -> None:
        raise ZeroDivisionError("a bug")

    with reading(bench) as reader:
        monkeypatch.setattr(reader.tally, "feed", broken)
        get(bench.port)

        def told() -> bool:
            try:
                reader.take()
            except DriverFailed as error:
                return "a bug" in error.message
            return False

        within().until(told, "it is told")


def test_two_proxies_know_the_same_clients(
    state: Path, program: Path, bench: Bench, blue: Upstream, green: Upstream
) -> None:
    """Clients come in at either: all of their answers count, but each client is one throw of the coin."""
    other = Bench(state / "other", program)
    try:
        tally = RequestCounter("shop")
        for each in (bench, other):
            each.both(blue, green, sticky=True, shield=False)
            each.set_traffic(Live("blue", 5000, 0, 7))
        key = Spec.model_validate_json(
            bench.traffic.membership.spec("shop") or ""
        ).key  # as `Several` gives all of them one
        other.traffic.configure(other.release("shop", sticky=True, shield=False), None, within(), key)
        with counted(tally, [stream(bench, tally), stream(other, tally)]) as both:
            green.failing = True
            mint = Mint(bench, 7)
            for roll in range(0, 1_000_000, 50_000):
                cookie = {"cookie": mint.cookie(roll, roll + 50_000)}
                for each in (bench, other, bench):
                    assert not get(each.port, headers=cookie).cookie
            told = both.take()
            deadline = within()
            while told.stable.requests + told.candidate.requests < 60:
                deadline.check("all are told")
                told += both.take()
    finally:
        other.close()
    assert (told.stable.requests, told.candidate.requests, told.candidate.errors) == (30, 30, 30)
    (coins,) = told.coins
    assert (coins.p, coins.stable.requests, coins.candidate.requests, coins.first_errors) == (0.5, 10, 10, (0, 10))
