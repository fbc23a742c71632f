"""Bytes in both directions: all of them, and an end to what nobody takes or sends any more."""

from __future__ import annotations

import asyncio
import os
import socket

from deployer.drivers.sleeping.splice import Connection, close, splice

BODY = os.urandom(300_000)


async def pair() -> tuple[Connection, Connection]:
    """Return two ends of one connection."""
    one, two = socket.socketpair()
    return await asyncio.open_connection(sock=one), await asyncio.open_connection(sock=two)


async def between(idle: float) -> tuple[Connection, Connection, asyncio.Task[None]]:
    """Return a client and an instance, with what passes on between them."""
    (client, left), (right, instance) = await pair(), await pair()
    return client, instance, asyncio.create_task(splice(left, right, idle))


def test_who_says_nothing_after_the_other_has_left_is_cut() -> None:
    async def play() -> None:
        client, instance, task = await between(0.1)
        client[1].close()
        async with asyncio.timeout(20):
            assert await instance[0].read() == b""
            await task
        instance[1].close()

    asyncio.run(play())


def test_who_goes_on_after_the_other_has_said_all_is_heard_to_the_end() -> None:
    async def play() -> None:
        client, instance, task = await between(3.0)
        client[1].write_eof()
        got = asyncio.create_task(client[0].read())
        for at in range(0, len(BODY), 50_000):
            instance[1].write(BODY[at : at + 50_000])
            await asyncio.sleep(0.6)
        instance[1].close()
        async with asyncio.timeout(20):
            assert await got == BODY
            client[1].close()
            await task

    asyncio.run(play())


def test_a_slow_reader_gets_all_that_is_left_when_the_instance_has_ended() -> None:
    async def play() -> None:
        client, instance, task = await between(3.0)
        instance[1].write(BODY)
        instance[1].close()
        got = b""
        async with asyncio.timeout(20):
            while data := await client[0].read(30_000):
                got += data
                await asyncio.sleep(0.35)
            client[1].close()
            await task
        assert got == BODY

    asyncio.run(play())


def test_a_connection_is_cut_whose_other_side_takes_nothing() -> None:
    async def play() -> None:
        (_, writer), (_, other) = await pair()
        writer.write(os.urandom(5_000_000))
        async with asyncio.timeout(20):
            await close(writer, 0.1)
        assert writer.transport.get_write_buffer_size() == 0
        other.close()

    asyncio.run(play())
