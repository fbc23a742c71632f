"""What users of several services behind one address, and of a service that speaks TCP, meet in a deploy."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from tests.live.conftest import Make
from tests.live.shop import Shop
from tests.load import Load, Options

pytestmark = pytest.mark.live


def beside(first: Shop, make_shop: Make) -> Shop:
    """Make one more service in the state folder of the first, on its listen address."""
    shop = make_shop("process")
    shop.state, shop.port, shop.url = first.state, first.port, first.url
    shop.manifest["replicas"] = 1
    return shop


def live(shop: Shop, version: str, **traffic: object) -> None:
    """Bring a version out on the shared address."""
    shop.write(traffic={"listen": f"127.0.0.1:{shop.port}", **traffic})
    shop.version(version)
    shop.deploy("up", "--version", version)


@pytest.mark.long("three services", every_change=True)
def test_services_share_an_address_by_domain_and_path(make_shop: Make) -> None:
    shop = make_shop("process")
    api, other = beside(shop, make_shop), beside(shop, make_shop)
    live(shop, "shop-1", domains=["shop.test"])
    live(api, "api-1", domains=["shop.test"], path="/api")
    live(other, "other-1", domains=["other.test", "*.other.test"])

    def answers() -> dict[str, str]:
        asked = {
            "shop.test": ("/", "/apis", "/api", "/api/items?page=2"),
            "other.test": ("/", "/api"),
            "w.other.test": ("/",),
        }
        return {
            host + path: shop.get(path, Host=host).headers["X-Version"]
            for host, paths in asked.items()
            for path in paths
        }

    before = {
        "shop.test/": "shop-1",
        "shop.test/apis": "shop-1",
        "shop.test/api": "api-1",
        "shop.test/api/items?page=2": "api-1",
        "other.test/": "other-1",
        "other.test/api": "other-1",
        "w.other.test/": "other-1",
    }
    assert answers() == before
    assert shop.get(Host="nobody.test").status_code == 404
    api.version("api-2")
    with Load(shop.url, Options(rate=40, kinds=("fresh", "busy"), host="shop.test")) as load:
        load.until(lambda now: now.answered > 30, "the load runs")
        api.deploy("bluegreen", "--bake", "0", "--version", "api-2")
        report = load.stop()
    assert report.failed == 0, report.text()
    assert set(report.by_version) == {"shop-1"}, "a deploy touches nobody else's users"
    assert answers() == {url: "api-2" if version == "api-1" else version for url, version in before.items()}


def test_a_claimed_name_and_path_are_refused(make_shop: Make) -> None:
    shop = make_shop("process")
    twice = beside(shop, make_shop)
    live(shop, "1.0", domains=["shop.test"])
    twice.version("1.0")
    twice.write(traffic={"listen": f"127.0.0.1:{shop.port}", "domains": ["shop.test"]})
    assert shop.name in twice.deploy("up", "--version", "1.0", expect=2).stderr
    assert shop.get(Host="shop.test").headers["X-Version"] == "1.0"


ECHO = """\
import asyncio, os, signal, sys

async def echo(reader, writer):
    while line := await reader.readline():
        writer.write(sys.argv[1].encode() + b" " + line)
        await writer.drain()
    writer.close()

async def main():
    loop = asyncio.get_running_loop()
    server = await asyncio.start_server(echo, os.environ["HOST"], int(os.environ["PORT"]))
    loop.add_signal_handler(signal.SIGTERM, lambda: os._exit(0))  # cuts what is left: waiting is not its part
    await server.serve_forever()

asyncio.run(main())
"""


@dataclass
class Talkers:
    """Clients that connect, talk for up to three seconds and hang up, again and again."""

    port: int
    said: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    _end: threading.Event = field(default_factory=threading.Event)

    def talk(self, lines: int) -> None:
        """Hold conversations of so many lines, a tenth of a second apart."""
        while not self._end.is_set():
            try:
                self._converse(lines)
            except OSError as error:
                self.lost.append(f"{type(error).__name__}: {error}")

    def _converse(self, lines: int) -> None:
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as peer, peer.makefile("rb") as answers:
            versions = set()
            for number in range(lines):
                peer.sendall(b"line %d\n" % number)
                version, _, rest = answers.readline().decode().partition(" ")
                if rest != f"line {number}\n":
                    raise ConnectionError(f"line {number} of {lines} was answered with {version + rest!r}")
                versions.add(version)
                self._end.wait(0.1)
            assert len(versions) == 1
            self.said += versions

    @contextmanager
    def talking(self) -> Iterator[None]:
        """Let several talk while something else happens."""
        lengths = (1, 1, 7, 13, 31)  # they never hang up all at the same time, so somebody always talks
        threads = [threading.Thread(target=self.talk, args=(lines,)) for lines in lengths]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._end.set()
            for thread in threads:
                thread.join(60)

    def until(self, version: str, times: int) -> None:
        """Wait for so many conversations with a version."""
        end = time.monotonic() + 60
        while self.said.count(version) < times:
            assert time.monotonic() < end, f"{self.said.count(version)} conversations with {version}; {self.lost}"
            time.sleep(0.05)


@pytest.mark.long("connections that last through deploys")
def test_tcp_without_a_lost_connection(make_shop: Make) -> None:
    shop = make_shop("process")
    for version in ("1.0", "2.0"):
        folder = shop.folder / "releases" / version
        folder.mkdir(parents=True)
        (folder / "echo.py").write_text(ECHO)
        (folder / "run").write_text(f"exec {sys.executable} -S echo.py {version}\n")
    # Nothing stays warm: the old instances are stopped at once after their drain.
    shop.write(
        traffic={"mode": "tcp", "listen": f"127.0.0.1:{shop.port}"},
        health={"tcp": True, "interval": "200ms"},
        keep={"warm": "0s"},
    )
    shop.deploy("up", "--version", "1.0")
    talkers = Talkers(shop.port)
    with talkers.talking():
        talkers.until("1.0", 10)
        shop.deploy("bluegreen", "--bake", "0", "--version", "2.0")  # only the drain saves those who talk
        del talkers.said[:]
        talkers.until("2.0", 20)
    assert talkers.lost == []
    assert set(talkers.said) == {"2.0"}
