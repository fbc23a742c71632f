"""The waker: gets the first request of a service that sleeps, wakes it, and passes on what it got.

A connection is the signal. No byte of it is read before the instance answers, so nothing is kept and nothing repeated:
the bytes go to the instance as they came, and its own go back. Where it does not start the client gets a 503.

The supervised process has a child that does this. It outlives its parent: when that is stopped or killed, it listens
until the next waker does, and passes on what it has to the end.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from deployer import __version__
from deployer.core.clock import SystemClock
from deployer.core.errors import DeployError
from deployer.drivers.sleeping import refusal
from deployer.drivers.sleeping.sleeper import LocalSleeper
from deployer.drivers.sleeping.splice import close, splice
from deployer.drivers.traffic.haproxy import spec, waker
from deployer.drivers.traffic.haproxy.layout import Home
from deployer.model import COLOURS, Colour

BACKLOG = 1024
STARTS = 64  # at once; each waits for a thread of its own
READ_ON = 2.0  # seconds in which what a client still sends is read, for it to get the answer
RETRY_SECONDS = 1.0  # in an answer, where nothing says more
HANDOVER_SECONDS = 10.0  # in which another waker is to listen, when this one ends
REST_SECONDS = 60.0  # for what is being passed on then
LOOK_SECONDS = 0.05  # between two looks at who listens
# From Python 3.13 on a server that is closed takes its socket's file away, at which its successor may listen by then.
STAYS: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class NotAwakeError(Exception):
    """The service does not start now; `after` so many seconds it is tried again."""

    def __init__(self, after: float) -> None:
        super().__init__(f"it does not start; the next try is in {after:.0f} s")
        self.after = after


@dataclass(frozen=True)
class _SleepingPlace:
    """The way to one backend: of which service and place, and what the proxy speaks to it."""

    service: str
    colour: Colour
    speaks: Literal["tcp", "http1", "h2"]


class Waker:
    """Listens for the services of one proxy."""

    def __init__(self, home: Home, sleeper: LocalSleeper) -> None:
        self._home, self._sleeper = home, sleeper
        self._listening: dict[str, asyncio.Server] = {}
        self._waking: dict[_SleepingPlace, asyncio.Task[str]] = {}
        self._looking = asyncio.Lock()
        self._passing: set[asyncio.Task[None]] = set()
        self._mine = 0  # the file of the socket of questions

    async def run(self, parent: int | None = None) -> None:
        """Listen until a signal ends it, or the pipe by which the parent is known to live; then leave it to another."""
        over = asyncio.Event()
        loop = asyncio.get_running_loop()
        if parent is not None:
            loop.add_reader(parent, over.set)
        loop.set_default_executor(ThreadPoolExecutor(STARTS))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, over.set)
        try:
            await self._look()
            self._mine = await self._listen(waker.CONTROL, self._asked)
            await over.wait()
            if parent is not None:
                loop.remove_reader(parent)
            await self._leave()
        finally:
            for name in tuple(self._listening):
                self._listening.pop(name).close()

    async def _leave(self) -> None:
        """Listen until another waker does, or nobody is to; then let what is being passed on come to its end."""
        self._listening.pop(waker.CONTROL).close()  # nobody is told any more that this one runs
        with suppress(TimeoutError):
            async with asyncio.timeout(HANDOVER_SECONDS):
                while self._is_last():
                    await asyncio.sleep(LOOK_SECONDS)
        await asyncio.sleep(LOOK_SECONDS)  # who came just before is accepted by then
        for name in tuple(self._listening):
            self._listening.pop(name).close()
        if self._passing:
            await asyncio.wait(self._passing, timeout=REST_SECONDS)

    def _is_last(self) -> bool:
        """Return whether no other waker has taken the place of this one, and none was asked to go."""
        try:
            return self._home.inside.path(waker.CONTROL).stat().st_ino == self._mine
        except OSError:
            return False

    async def _asked(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Look at the files, then say so."""
        try:
            await self._look()
            writer.write(f"{__version__}\n".encode())
        finally:
            await close(writer)

    async def _look(self) -> None:
        """Listen where a service has a waker now, and no more where none has."""
        async with self._looking:
            found, unknown = self._ways()
            for name in self._listening.keys() - found.keys() - unknown - {waker.CONTROL}:
                self._listening.pop(name).close()
            fresh = [name for name in found if not (name in self._listening and self._home.inside.path(name).exists())]
            for name in fresh:
                await self._listen(name, partial(self._serve, found[name]))
            for name in fresh:
                await asyncio.to_thread(self._sleeper.prepare, found[name].service, found[name].colour)

    def _ways(self) -> tuple[dict[str, _SleepingPlace], set[str]]:
        """Return the sockets of all services, and those of services of which nothing can be read: they stay."""
        found: dict[str, _SleepingPlace] = {}
        unknown: set[str] = set()
        for path in sorted(self._home.services.glob("*.json")):
            try:
                one = spec.load(self._home.services, path.stem)
            except (OSError, DeployError) as error:
                sys.stderr.write(f"{path.stem}: {error}\n")
                unknown.update(waker.socket(path.stem, colour) for colour in COLOURS)
                continue
            if one is not None:  # it was taken away meanwhile
                for name, colour in waker.listens(one):
                    speaks = one.side(colour).protocol if one.entry.mode == "http" else "tcp"
                    found[name] = _SleepingPlace(one.service, colour, speaks)
        return found, unknown

    async def _listen(self, name: str, serve: Serve) -> int:
        """Listen by this name; return the number of the socket's file, read before another waker takes its place."""
        if name in self._listening:
            self._listening.pop(name).close()
        path = self._home.inside.path(name)
        path.unlink(missing_ok=True)
        made = await asyncio.start_unix_server(serve, str(path), backlog=BACKLOG, start_serving=False, **STAYS)
        self._listening[name], file = made, path.stat().st_ino
        await made.start_serving()
        return file

    async def _serve(self, way: _SleepingPlace, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Wake the service, and pass on one connection."""
        if (task := asyncio.current_task()) is not None:
            self._passing.add(task)
            task.add_done_callback(self._passing.discard)
        try:
            host, _, port = (await self._awake(way)).rpartition(":")
            side = self._sleeper.side(way.service, way.colour)
            async with asyncio.timeout(side.wait):
                there = await asyncio.open_connection(host.strip("[]"), int(port))
        except NotAwakeError as error:
            await self._refuse(way, reader, writer, error.after)
        except (OSError, DeployError):
            await self._refuse(way, reader, writer, RETRY_SECONDS)
        except Exception:
            await self._refuse(way, reader, writer, RETRY_SECONDS)
            raise
        else:
            limits = side.timeouts
            idle = limits.tunnel if way.speaks == "tcp" else max(limits.response, limits.client)
            await splice((reader, writer), there, idle)

    async def _awake(self, way: _SleepingPlace) -> str:
        """Return the address of an instance that is awake; all who come meanwhile wait for the same start."""
        task = self._waking.get(way)
        if task is None:
            if pause := self._sleeper.rests_for(way.service, way.colour):
                raise NotAwakeError(pause)
            task = asyncio.create_task(asyncio.to_thread(self._wake, way))
            self._waking[way] = task
            task.add_done_callback(lambda _done: self._waking.pop(way, None))
        wait = self._sleeper.side(way.service, way.colour).wait
        try:
            return await asyncio.wait_for(asyncio.shield(task), wait)
        except TimeoutError:  # the start goes on, for those who come again
            raise NotAwakeError(RETRY_SECONDS) from None
        except (OSError, DeployError):
            raise NotAwakeError(self._sleeper.rests_for(way.service, way.colour) or RETRY_SECONDS) from None

    def _wake(self, way: _SleepingPlace) -> str:
        try:
            return self._sleeper.wake(way.service, way.colour).address
        except (OSError, DeployError) as error:
            sys.stderr.write(f"{way.service}: {error}\n")
            raise

    async def _refuse(
        self, way: _SleepingPlace, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, after: float
    ) -> None:
        """Answer that it does not start now; a tcp client is cut off."""
        with suppress(OSError, TimeoutError, EOFError):
            async with asyncio.timeout(READ_ON):
                if way.speaks == "h2":
                    await refusal.by_http2(reader, writer, after)
                elif way.speaks == "http1":
                    writer.write(refusal.by_http1(way.service, after))
                    await writer.drain()
                    writer.write_eof()
                    while await reader.read(65536):
                        pass
        await close(writer)


def main(arguments: list[str]) -> int:
    """Run the waker of the proxy in a folder, in a child that outlives this process as long as it has to."""
    os.umask(0o077)
    root = Path(arguments[0])
    ours, parents = os.pipe()  # ours ends when this process does
    child = os.fork()
    if child:
        os.close(ours)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.close(parents)
    os.setsid()  # else it would be killed with the group of its parent
    sleeper = LocalSleeper(root.parent, SystemClock())
    asyncio.run(Waker(Home(root, root / "haproxy.cfg"), sleeper).run(ours))
    return 0
