"""A plain TCP server, as a release: names its version in the first line, then gives back each line."""

from __future__ import annotations

import asyncio
import os
import signal


def _this_task() -> asyncio.Task[None]:
    task = asyncio.current_task()
    assert task is not None
    return task


async def main() -> None:
    ending, talks = asyncio.Event(), set[asyncio.Task[None]]()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.add(mine := _this_task())
        try:
            writer.write(f"{os.environ['DEPLOYER_VERSION']}\n".encode())
            while line := await reader.readline():
                writer.write(line)
                await writer.drain()
        except ConnectionError:
            pass  # a check of the proxy looks whether somebody is here, and leaves
        finally:
            writer.close()
            talks.discard(mine)

    server = await asyncio.start_server(talk, os.environ["HOST"], int(os.environ["PORT"]))
    await ending.wait()
    server.close()
    if talks:
        await asyncio.wait(talks, timeout=2)


asyncio.run(main())
