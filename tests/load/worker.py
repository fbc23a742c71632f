"""The load process: reads what to do from its standard input, ends when told to or when its parent is gone."""

from __future__ import annotations

import asyncio
import resource
import sys
from pathlib import Path

from tests.load.kinds import Crowd
from tests.load.ledger import Ledger
from tests.load.options import Options, Target

PUBLISH_EVERY = 0.1  # seconds


async def work(url: str, folder: Path, options: Options, stdin: asyncio.StreamReader) -> None:
    """Keep the load up until a line or the end comes on `stdin`."""
    ledger = Ledger(folder, options)
    crowd = Crowd(Target.of(url, options), options, ledger)
    publisher = asyncio.create_task(_publish(ledger))
    try:
        async with asyncio.TaskGroup() as group:
            running = group.create_task(crowd.run())
            reader = group.create_task(stdin.readline())
            await asyncio.wait({running, reader}, return_when=asyncio.FIRST_COMPLETED)
            crowd.stopping.set()
    finally:
        publisher.cancel()
        ledger.close()


async def _publish(ledger: Ledger) -> None:
    loop = asyncio.get_running_loop()
    while True:
        ledger.publish()
        asked = loop.time()
        await asyncio.sleep(PUBLISH_EVERY)
        ledger.lag = max(ledger.lag, loop.time() - asked - PUBLISH_EVERY)


async def main() -> None:
    """Take URL, folder and options, one a line, and work."""
    # A socket for each request in progress: of those that wait in a queue there may be thousands
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    stdin = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    url, folder, options = [(await stdin.readline()).decode().rstrip("\n") for _ in range(3)]
    await work(url, Path(folder), Options.load(options), stdin)


if __name__ == "__main__":
    asyncio.run(main())
