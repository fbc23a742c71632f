"""A service that sleeps on an engine that is killed: who comes is answered, or told when to come again at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import docker
import pytest
import requests

from deployer.core.clock import SystemClock
from deployer.drivers.sleeping import LocalSleeper
from tests.live.shop import Shop
from tests.live.sleepers import sleepy
from tests.live.test_sleep import BOTH, put_to_sleep, running
from tests.live.visitors import ComeAgain, Use, get, post
from tests.services import require
from tests.swarm import OwnEngine, client, own_engine
from tests.waiting import within

pytestmark = pytest.mark.live

MOMENTS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8)  # seconds after somebody has come, in which a start takes its course


@pytest.fixture
def engine_of_its_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[OwnEngine, docker.DockerClient]]:
    """Yield an engine to be killed, and stand where its ports are: the kernel forwards them, no program dies."""
    require("root", "dockerd", "haproxy")
    with own_engine("--userland-proxy=false") as engine, engine.entered(), client(engine.socket) as asked:
        monkeypatch.setenv("DOCKER_HOST", engine.socket)
        yield engine, asked


@pytest.fixture
def shop(engine_of_its_own: tuple[OwnEngine, docker.DockerClient], state: Path) -> Iterator[Shop]:
    """Yield a service on that engine; it is taken down at the end, for which the engine runs again."""
    engine, asked = engine_of_its_own
    made = Shop(state, "docker", asked)
    yield made
    engine.start()
    made.close()


def comes(use: Use, shop: Shop) -> bool:
    """Return whether somebody who comes is answered; False where he is told when to come again. Raise otherwise."""
    with suppress(ComeAgain):
        use(shop)
        return True
    return False


def serves_again(shop: Shop, engine: OwnEngine) -> None:
    """Wait until who comes is answered: what ran when the engine was killed is started by it, and may need a moment.

    An engine that was killed in the middle of a start may take the port for given away, until it is started again.
    """
    last = ""

    def answered() -> bool:
        nonlocal last
        with suppress(AssertionError, requests.RequestException):
            get(shop)
            return True
        last = LocalSleeper(shop.state, SystemClock()).wakes(shop.name)[-1].error
        if "port is already allocated" in last:
            engine.stop()
            engine.start()
        return False

    if not within(120).wait(answered, every=0.5):
        raise AssertionError(f"it does not serve again: {last}; {running(shop)}")
    assert running(shop) == ["running"]


@BOTH
@pytest.mark.long("an engine of its own, which is killed")
def test_while_the_engine_is_gone_who_comes_is_told_to_come_again(
    engine_of_its_own: tuple[OwnEngine, docker.DockerClient], shop: Shop, sleep: str
) -> None:
    engine, _ = engine_of_its_own
    sleepy(lambda _kind: shop, "docker", sleep=sleep)
    sleeper = put_to_sleep(shop)
    engine.kill()
    for use in (post, get):
        assert not comes(use, shop)
    assert "no Docker engine" in sleeper.wakes(shop.name)[-1].error
    engine.start()
    serves_again(shop, engine)
    post(shop)
    put_to_sleep(shop)
    post(shop)
    assert sleeper.wakes(shop.name)[-1].error == ""


@pytest.mark.long("an engine of its own, which is killed at several moments of a wake")
def test_an_engine_that_is_killed_while_a_service_wakes_keeps_nobody_waiting(
    engine_of_its_own: tuple[OwnEngine, docker.DockerClient], shop: Shop
) -> None:
    engine, _ = engine_of_its_own
    sleepy(lambda _kind: shop, "docker")
    for moment in MOMENTS:
        sleeper = put_to_sleep(shop)
        with ThreadPoolExecutor(2) as pool:
            visits = [pool.submit(comes, use, shop) for use in (post, get)]
            threading.Event().wait(moment)
            engine.kill()
            first, second = (visit.result() for visit in visits)
        engine.start()
        serves_again(shop, engine)
        print(moment, first, second, [wake.error for wake in sleeper.wakes(shop.name)[-3:]])
        assert sleeper.asleep(shop.name) == {}
    put_to_sleep(shop)
    post(shop)
