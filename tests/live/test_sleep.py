"""A service that sleeps while nobody comes, as its users meet it: whoever comes is answered."""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import requests

from deployer import supervisor
from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import DriverFailed
from deployer.drivers.sleeping import LocalSleeper
from deployer.drivers.traffic.haproxy.parts import Parts
from deployer.drivers.traffic.haproxy.sleeping import HAProxySleep, _SleepingBackend
from tests.live.conftest import Make
from tests.live.shop import Shop
from tests.live.sleepers import of_grpc, sleepy
from tests.live.visitors import BODY, USES, Use, by_both, call, calls, get, post, second_proxy, talk
from tests.load.options import Options, Target
from tests.load.websocket import WebSocket
from tests.load.wire import Connection
from tests.waiting import within

pytestmark = pytest.mark.live

SLEEPS = int(os.environ.get("DEPLOYER_TEST_SLEEPS", "50"))  # of each of the four cases of the long test


@contextmanager
def kept(shop: Shop) -> Iterator[None]:
    """Have a keeper at work."""
    with shop.start("keep") as keeper:
        yield
        keeper.send_signal(signal.SIGTERM)
        keeper.wait(120)


def sleeps(shop: Shop) -> dict[str, Any]:
    """Wait until the keeper has put it to sleep."""
    return shop.wait(lambda found: found["size"]["asleep"] and not found["rollout"], "it sleeps", 120.0)


def put_to_sleep(shop: Shop) -> LocalSleeper:
    """Put it to sleep as a step does, without a keeper."""
    sleeper, clock = LocalSleeper(shop.state, SystemClock()), SystemClock()

    def asleep() -> bool:
        return sleeper.sleep(shop.name, "blue", 5.0, Deadline.after(clock, 30.0), Deadline.after(clock, 60.0))

    within(60.0).until(asleep, "it does not sleep", every=0.1)
    return sleeper


def pid_of(shop: Shop) -> int:
    """Return the process of its first instance."""
    name = f"{shop.name}-r1-1"
    if shop.client is not None:
        return int(shop.client.containers.get(name).attrs["State"]["Pid"])
    status = supervisor.read_status(shop.state / "processes" / name)
    assert status is not None
    return status.pid


def running(shop: Shop) -> list[str]:
    """Return the states of its instances."""
    return [i["state"] for e in shop.status()["environments"] for i in e["instances"]]


@pytest.mark.parametrize("kind", ["process", "docker"])
@pytest.mark.long("a service falls asleep by a keeper, and is woken")
def test_a_service_sleeps_and_the_next_request_wakes_it(make_shop: Make, kind: str) -> None:
    shop = sleepy(make_shop, kind)
    with kept(shop):
        for use in (get, post):
            sleeps(shop)
            use(shop)
        sleeps(shop)
        assert "wakes with the next request" in shop.deploy("status").stdout
        shop.deploy("doctor")
    assert running(shop) == ["exited"]
    get(shop)
    assert running(shop) == ["running"], "nobody keeps, and it wakes all the same"
    rows = shop.events("history")[0]["rollouts"]
    assert [row["strategy"] for row in rows[:3]] == ["sleep"] * 3
    (cost,) = shop.events("cost", "--since", "1h")[0]["services"]
    assert cost["releases"][0]["sleep"] > 0, "what the keeper saw was recorded when it ended"
    assert cost["releases"][0]["hours"] > 0


BOTH = pytest.mark.parametrize("sleep", ["stop", "pause"])


@BOTH
def test_who_wakes_it_is_answered(make_shop: Make, sleep: str) -> None:
    wake_often(sleepy(make_shop, "process", sleep=sleep), 5)


@BOTH
@pytest.mark.parametrize("kind", ["process", "docker"])
@pytest.mark.long("hundreds of sleeps and wakes")
def test_who_wakes_it_is_answered_each_time_and_so_are_all_who_came_meanwhile(
    make_shop: Make, kind: str, sleep: str
) -> None:
    shop = sleepy(make_shop, kind, sleep=sleep)
    with second_proxy(shop) as second:
        wake_often(shop, SLEEPS, (*USES, partial(by_both, second)))


def test_who_calls_by_grpc_wakes_it_and_is_answered(make_shop: Make) -> None:
    wake_often(of_grpc(make_shop), 4, (call, calls))


@BOTH
@pytest.mark.long("hundreds of sleeps and wakes by calls of gRPC")
def test_who_calls_by_grpc_is_answered_each_time(make_shop: Make, sleep: str) -> None:
    wake_often(of_grpc(make_shop, sleep=sleep), SLEEPS, (call, calls))


def wake_often(shop: Shop, times: int, uses: tuple[Use, ...] = USES) -> None:
    """Have it sleep and wake so often, each time by another kind of user; print how long the parts of a wake take."""
    wakes, seen = [], []
    for n in range(times):
        sleeper, use = put_to_sleep(shop), uses[n % len(uses)]
        began = time.perf_counter()
        use(shop)
        seen += [time.perf_counter() - began] if use is uses[0] else []
        wakes.append(sleeper.wakes(shop.name)[-1])
    assert [wake.error for wake in wakes] == [""] * times
    assert len({wake.at for wake in wakes}) == times, "each time it was started once"
    rest = [took - wake.start - wake.health for took, wake in zip(seen, wakes[:: len(uses)], strict=True)]
    parts = {"start": [w.start for w in wakes], "health": [w.health for w in wakes], "rest": rest, "in all": seen}
    print({name: f"{1000 * statistics.median(found):.1f} ms" for name, found in parts.items()}, times, shop.kind)


@pytest.mark.parametrize("kind", ["process", "docker"])
@pytest.mark.long("all that can become of an instance that is paused")
def test_what_is_paused_keeps_its_memory_and_is_started_where_it_was_killed(make_shop: Make, kind: str) -> None:
    shop = sleepy(make_shop, kind, sleep="pause")
    first = pid_of(shop)
    with kept(shop):
        sleeps(shop)
        assert (running(shop), pid_of(shop)) == (["paused"], first)
        assert "paused: it keeps its memory" in shop.deploy("status").stdout
        shop.deploy("doctor")
    post(shop)
    assert (running(shop), pid_of(shop)) == (["running"], first)
    put_to_sleep(shop)
    os.kill(first, signal.SIGKILL)
    get(shop)
    within(60.0).until(lambda: running(shop) == ["running"], "it runs again", every=0.1)
    put_to_sleep(shop)
    shop.deploy("scale", "2")
    assert running(shop) == ["running", "running"]
    shop.deploy("scale", "--auto")


@pytest.mark.parametrize("kind", ["process", "docker"])
@pytest.mark.long("a deploy, a rollback and the end while it is paused")
def test_what_is_paused_ends_as_it_is_asked_to(make_shop: Make, kind: str) -> None:
    shop = sleepy(make_shop, kind, sleep="pause")
    put_to_sleep(shop)
    shop.version("2.0")
    shop.deploy("up", "--version", "2.0")
    shop.deploy("rollback")
    get(shop)
    put_to_sleep(shop)
    shop.deploy("down", "-y")
    assert not (shop.state / "proxy").exists()


@pytest.mark.long("the waker and the store are lost")
def test_it_wakes_when_the_waker_was_killed_and_the_store_is_gone(make_shop: Make) -> None:
    shop = sleepy(make_shop, "process")
    put_to_sleep(shop)
    status = supervisor.read_status(shop.state / "proxy" / "waker")
    assert status is not None
    os.kill(status.pid, signal.SIGKILL)
    database = shop.state / "deployer.db"
    database.rename(shop.state / "aside.db")

    def answered() -> bool:
        answer = requests.get(f"{shop.url}/version", timeout=60)
        assert answer.status_code == 200 or answer.headers["Retry-After"] == "5"
        return answer.status_code == 200

    within(60.0).until(answered, "it does not wake", every=0.1)
    post(shop)
    (shop.state / "aside.db").rename(database)
    assert running(shop) == ["running"]


@pytest.mark.long("a waker that is replaced while it passes on")
def test_what_the_waker_passes_on_outlives_it(make_shop: Make) -> None:
    shop = sleepy(make_shop, "process")
    sleeper, folder = put_to_sleep(shop), shop.state / "proxy" / "waker"

    def replaced() -> None:
        before = supervisor.read_status(folder)
        supervisor.stop(folder, Deadline.after(SystemClock(), 20.0))
        sleeper.attend(Deadline.after(SystemClock(), 60.0))
        after = supervisor.read_status(folder)
        assert before
        assert after
        assert before.pid != after.pid

    async def talk_on() -> None:
        opened = WebSocket(Connection(Target.of(shop.url, Options())))
        assert (await opened.open("/ws", ())).status == 101
        await opened.echo("by the waker that woke it")
        await asyncio.to_thread(replaced)
        await opened.echo("still by that one")
        await opened.close()

    asyncio.run(talk_on())
    put_to_sleep(shop)
    get(shop)


@pytest.mark.long("sleeps and wakes of which the proxy was not told")
def test_a_wake_or_sleep_that_was_killed_halfway_ends_with_the_next(
    make_shop: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = sleepy(make_shop, "process")
    sleeper, proxy = (
        put_to_sleep(shop),
        HAProxySleep(Parts(shop.state / "proxy", SystemClock(), None, None, shop.state)),
    )
    tell = _SleepingBackend._tell

    def killed(*_: object) -> None:
        raise DriverFailed("killed", "")

    monkeypatch.setattr(_SleepingBackend, "_tell", killed)
    with pytest.raises(DriverFailed, match="killed"):
        sleeper.wake(shop.name, "blue")
    assert running(shop) == ["running"]
    soon = Deadline.after(SystemClock(), 60.0)
    assert proxy.half_open(shop.name, "blue", soon)
    threading.Event().wait(max(0.0, sleeper.wakes(shop.name)[-1].next - SystemClock().now()))
    get(shop)
    assert not proxy.half_open(shop.name, "blue", soon)
    with pytest.raises(DriverFailed, match="killed"):
        sleeper.sleep(shop.name, "blue", 5.0, soon, soon)
    monkeypatch.setattr(_SleepingBackend, "_tell", tell)
    put_to_sleep(shop)
    post(shop)
    assert running(shop) == ["running"]


@pytest.mark.long("a start fails until what it needs is back")
def test_a_start_that_fails_is_answered_and_tried_again(make_shop: Make) -> None:
    shop = sleepy(make_shop, "process", wake={"not": ["/health", "UptimeRobot"]})
    sleeper = put_to_sleep(shop)
    for agent, path in (("UptimeRobot/2.0", "/version"), ("curl", "/health/deep")):
        asked = requests.get(shop.url + path, headers={"User-Agent": agent}, timeout=30)
        assert (asked.status_code, asked.headers["Retry-After"]) == (503, "5")
    assert sleeper.wakes(shop.name) == (), "these wake nobody"
    folder = shop.state / "processes" / f"{shop.name}-r1-1"
    (folder / "spec.json").rename(folder / "away.json")
    failed = 0
    for _ in range(2):
        answer = requests.post(f"{shop.url}/any", data=BODY, timeout=60)
        assert (answer.status_code, "does not start" in answer.text) == (503, True)
        last = sleeper.wakes(shop.name)[-1]
        assert (last.failed, f"{shop.name}-r1-1 is gone" in last.error) == (failed + 1, True)
        again = requests.get(f"{shop.url}/version", timeout=60)
        assert again.status_code in (200, 503)
        last = sleeper.wakes(shop.name)[-1]  # that one may have tried, too: where it came late
        failed = last.failed
        threading.Event().wait(max(0.0, last.next - SystemClock().now()))
    assert "did not start" in shop.deploy("status").stdout
    (folder / "away.json").rename(folder / "spec.json")
    threading.Event().wait(max(0.0, sleeper.wakes(shop.name)[-1].next - SystemClock().now()))
    get(shop)
    assert running(shop) == ["running"]


@pytest.mark.long("connections of a tcp service")
def test_a_tcp_service_wakes(make_shop: Make) -> None:
    shop = make_shop("process")
    del shop.manifest["replicas"]
    shop.manifest["traffic"]["mode"] = "tcp"
    shop.manifest["health"] = {"tcp": True, "deadline": "10s"}
    shop.write(scale={"min": 0, "max": 2, "concurrency": 50})
    shop.live("1.0")
    for use in (get, post, talk):
        put_to_sleep(shop)
        use(shop)
    put_to_sleep(shop)
    shop.deploy("down", "-y")
    assert not (shop.state / "proxy").exists()
