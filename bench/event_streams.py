"""Many clients on the event stream of one server: `python -m bench.event_streams [CLIENTS]`.

How much memory they take, and how long after its writing an event reaches them. The server is `deploy serve` itself;
the events are written into its store by this process, ten a second.
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from deployer.app.operations.execution import locked
from deployer.core.events import Event
from deployer.server.tokens import Tokens
from tests.house import Scene
from tests.ports import free_port

CLIENTS, EVENTS, RATE = 1000, 50, 10.0
OF_ONE_TOKEN = 50  # clients; a token may ask so often at once
SECONDS = 120.0


def main() -> None:
    clients = int(sys.argv[1]) if len(sys.argv) > 1 else CLIENTS
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(clients + 1000, hard), hard))
    with tempfile.TemporaryDirectory() as folder:
        scene, port = Scene(Path(folder) / "state"), free_port()
        scene.deploy("1.0")
        tokens = Tokens(scene.house.store.folder, scene.world.clock)
        texts = [tokens.create(f"t{n}", "viewer", (), 0.0, "bench")[1] for n in range(clients // OF_ONE_TOKEN + 1)]
        command = [str(Path(sys.executable).with_name("deploy")), "serve", "--listen", f"127.0.0.1:{port}"]
        server = subprocess.Popen(
            [*command, "--state", str(scene.house.store.folder)], stderr=subprocess.PIPE, text=True
        )
        try:
            assert server.stderr is not None
            print(server.stderr.readline().strip())
            asyncio.run(measure(scene, server.pid, port, texts, clients))
        finally:
            server.terminate()
            server.wait(SECONDS)
            scene.house.store.close()


async def measure(scene: Scene, pid: int, port: int, texts: list[str], clients: int) -> None:
    before = memory(pid)
    ready, late = asyncio.Semaphore(0), [list[float]() for _ in range(clients)]
    listeners = [asyncio.create_task(listen(port, texts[n // OF_ONE_TOKEN], ready, late[n])) for n in range(clients)]
    began = time.monotonic()
    async with asyncio.timeout(SECONDS):
        for _ in range(clients):
            await ready.acquire()
        connected = time.monotonic() - began
        await asyncio.to_thread(tell, scene)
        await asyncio.gather(*listeners)
    every = sorted(seconds for one in late for seconds in one)
    print(f"{clients} clients, connected in {connected:.1f} s; {before} MB before, {memory(pid)} MB with them")
    print(f"{sum(len(one) == EVENTS for one in late)} of them got each of {EVENTS} events")
    print(f"after {every[len(every) // 2]:.2f} s (median), {every[len(every) * 99 // 100]:.2f} s (99 %)")


def tell(scene: Scene) -> None:
    with locked(scene.house, "shop", "bench") as lock:
        for _ in range(EVENTS):
            scene.house.store.events.add(lock, Event("note", time.time(), "shop", 1, {"text": "x" * 200}))
            time.sleep(1 / RATE)


async def listen(port: int, token: str, ready: asyncio.Semaphore, late: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    ask = f"GET /api/v1/services/shop/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
    writer.write(ask.encode())
    status = await reader.readline()
    assert b" 200 " in status, status
    while len(late) < EVENTS:
        line = await reader.readline()
        assert line, "the stream ended"
        if line.startswith(b"retry:"):
            ready.release()
        elif line.startswith(b"data: "):
            late.append(time.time() - float(json.loads(line[6:])["at"]))
    writer.close()


def memory(pid: int) -> int:
    """Read how many MB a process has in memory."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmRSS")).split()[1]) // 1024


if __name__ == "__main__":
    main()
