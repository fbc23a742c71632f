"""`scale.concurrency: auto` with an application whose knee is known: the keeper finds it, and no request is lost."""

from __future__ import annotations

import shutil
import sys
from typing import Any

import pytest

from deployer.core.clock import SystemClock
from deployer.drivers.traffic.haproxy.master import MasterSocket
from deployer.drivers.traffic.haproxy.servers import Servers
from deployer.manifest.scale import FIRST_AT_ONCE, MOST_AT_ONCE
from tests.live.conftest import Make
from tests.live.shop import Shop
from tests.load import Load, Options
from tests.waiting import within

pytestmark = pytest.mark.live

KNEE, TAKES = 4, 0.1
# Answers so many requests at once; the others wait in it.
APPLICATION = f"""
import asyncio, os, signal

AT_ONCE = asyncio.Semaphore({KNEE})

async def serve(reader, writer):
    try:
        line = await reader.readline()
        while (await reader.readline()).strip():
            pass
        if b"/health" not in line:
            async with AT_ONCE:
                await asyncio.sleep({TAKES})
        writer.write(b"HTTP/1.1 200 OK\\r\\nX-Version: 1.0\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nok")
        await writer.drain()
    finally:
        writer.close()

async def main():
    ending = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    server = await asyncio.start_server(serve, "127.0.0.1", int(os.environ["PORT"]), backlog=512)
    await ending.wait()
    server.close()

asyncio.run(main())
"""


def limits(shop: Shop) -> set[int]:
    """Return how many requests at once the proxy gives an instance, as it says itself."""
    master = MasterSocket(shop.state / "proxy" / "master.sock", SystemClock())
    (worker,) = master.current(within())
    live = shop.status()["environments"]
    (colour,) = [e["colour"] for e in live if e["role"] == "stable"]
    return {server.limit for server in Servers(master).seen(worker, f"{shop.name}_{colour}", within()).values()}


def written(shop: Shop) -> set[str]:
    """Return the same as the file says it, with which a proxy comes back."""
    lines = (shop.state / "proxy" / "haproxy.cfg").read_text().splitlines()
    return {line.split(" maxconn ")[1].split()[0] for line in lines if line.startswith(f"  server {shop.name}-r")}


def concurrency(found: dict[str, Any]) -> int:
    """Return what a status has; nothing of a moment in which it cannot be read."""
    return int(found["size"]["scale"]["concurrency"]) if found["size"] else MOST_AT_ONCE


@pytest.mark.long("minutes of load, of which several comparisons are made for each step")
def test_what_an_instance_answers_well_is_learned_and_no_request_is_lost(make_shop: Make) -> None:
    shop = make_shop("process")
    del shop.manifest["replicas"]
    shop.write(scale={"min": 3, "max": 4, "concurrency": "auto", "hold": "10m"})
    folder = shop.folder / "releases" / "1.0"
    folder.mkdir(parents=True)
    (folder / "app.py").write_text(APPLICATION)
    (folder / "run").write_text(f"exec {sys.executable} app.py\n")
    shop.deploy("bluegreen", "--bake", "0", "--version", "1.0")
    assert limits(shop) == {FIRST_AT_ONCE}
    with shop.start("keep"), Load(shop.url, Options(kinds=("fresh",), rate=KNEE / TAKES * 2.5)) as load:
        shop.wait(lambda found: concurrency(found) <= 1.5 * KNEE, "it is learned", 1200)
        report = load.stop()
    assert report.failed == 0, report.text()
    found = shop.status()["size"]["scale"]
    print(f"{found['concurrency']}: {found['learned']}")
    assert found["concurrency"] >= KNEE
    assert limits(shop) == {found["concurrency"]}
    assert written(shop) == {str(found["concurrency"])}
    said = shop.deploy("scale").stdout
    assert f"concurrency: {found['concurrency']} for each instance, since " in said
    (line,) = (line for line in said.splitlines() if line.startswith("concurrency: "))
    another = shutil.copytree(folder, folder.with_name("2.0"))
    (another / "app.py").write_text(f"# another version\n{APPLICATION}")
    assert line in shop.deploy("plan", "--version", "2.0").stdout
