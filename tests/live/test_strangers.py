"""Strangers who want a good release rolled back, or a bad one promoted, with as many requests as all users make."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

import pytest

from tests.live.shop import Shop
from tests.live.told import Told

pytestmark = pytest.mark.live

FAILS = "/status?code=500"  # in every release
RATE = 40.0  # requests a second, of all users together and of all strangers
USERS = [f"127.0.1.{n}" for n in range(1, 201)]
STEPS = {"steps": [10, 50], "for": "6s", "bake": "1s"}
Asks = Callable[[int], None]


class Client:
    """A client at an address; it keeps the cookies that it gets, like a browser."""

    def __init__(self, shop: Shop, address: str, cookie: str = "") -> None:
        self._shop, self._address, self.cookie = shop, address, cookie

    def ask(self, path: str = "/", method: str = "GET") -> str:
        """Ask once; return the version that answered."""
        connection = http.client.HTTPConnection("127.0.0.1", self._shop.port, 10, source_address=(self._address, 0))
        try:
            connection.request(method, path, headers={"cookie": self.cookie} if self.cookie else {})
            response = connection.getresponse()
            response.read()
            given = response.headers.get("set-cookie", "").partition(";")[0]
            self.cookie = given or self.cookie
            return response.headers.get("x-version", "")
        finally:
            connection.close()


def forged(shop: Shop, addresses: int) -> Asks:
    """Choose rolls and claim every side with them, as many clients as there are requests."""
    return lambda n: _void(Client(shop, stranger(n, addresses), f"deployer-{shop.name}=2-{n}").ask(FAILS))


def flood(shop: Shop, addresses: int) -> Asks:
    """Be a new client with each request."""
    return lambda n: _void(Client(shop, stranger(n, addresses)).ask(FAILS, "POST"))


def learning(shop: Shop, addresses: int, version: str, method: str) -> Asks:
    """Learn the side of each new client, and fail with those of one release only."""

    def ask(n: int) -> None:
        client = Client(shop, stranger(n, addresses))
        if client.ask("/", "POST") == version:
            client.ask(FAILS, method)

    return ask


def stranger(n: int, addresses: int) -> str:
    return f"127.0.2.{1 + n % addresses}"


def _void(_: object) -> None:
    return


@contextmanager
def asking(asks: Asks) -> Iterator[None]:
    """Let somebody ask at the rate, until the end."""
    end, numbers = threading.Event(), count()
    failed: list[Exception] = []

    def run() -> None:
        try:
            while not end.wait(4 / RATE):
                asks(next(numbers))
        except Exception as error:  # noqa: BLE001 -- told to the test
            failed.append(error)

    threads = [threading.Thread(target=run, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        end.set()
        for thread in threads:
            thread.join(20)
    assert not failed


def canary(shop: Shop, attack: Asks, *, expect: int) -> Told:
    """Try version 2.0 on users, most of whom come again, while strangers attack."""
    shop.write(strategy={"canary": STEPS})
    clients = [Client(shop, address) for address in USERS]
    with asking(lambda n: _void(clients[n % len(clients)].ask("/", "POST" if n % 5 == 0 else "GET"))), asking(attack):
        return shop.told("canary", "--version", "2.0", expect=expect)


@pytest.mark.long("a whole canary under attack", every_change=("flood-10",))
@pytest.mark.parametrize("addresses", [1, 10])
@pytest.mark.parametrize("attack", [forged, flood])
def test_a_good_release_is_not_rolled_back(
    process_shop: Shop, attack: Callable[[Shop, int], Asks], addresses: int
) -> None:
    process_shop.version("2.0")
    told = canary(process_shop, attack(process_shop, addresses), expect=0)
    assert not told.all("verdict", verdict="worse"), told.text()
    assert told.ended["outcome"] == "done"


@pytest.mark.long("a whole canary under attack")
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_nor_by_clients_that_fail_on_the_candidate_only(process_shop: Shop, method: str) -> None:
    process_shop.version("2.0")
    told = canary(process_shop, learning(process_shop, 10, "2.0", method), expect=0)
    assert not told.all("verdict", verdict="worse"), told.text()


@pytest.mark.long("a canary under attack, until it is found")
@pytest.mark.parametrize("hides", ["forged", "flood", "learning"])
def test_a_bad_release_is_rolled_back_all_the_same(process_shop: Shop, hides: str) -> None:
    process_shop.version("2.0", {"ERR": "0.2"})
    attack = learning(process_shop, 10, "1.0", "POST") if hides == "learning" else globals()[hides](process_shop, 10)
    told = canary(process_shop, attack, expect=3)
    assert told.one("rollout.rolling_back")
