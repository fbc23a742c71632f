"""`deploy proxy --stdio`: the driver of the proxy of this host, for one client, who came by ssh.

It holds nothing: what it is asked for it does as a command of this host would, under the lock of the proxy's folder.
When the client is gone, or says nothing for a minute, it ends.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from deployer.core.clock import Clock, Deadline
from deployer.core.errors import DeployError, DriverFailed, Refused
from deployer.drivers.traffic.haproxy import HAProxyTraffic
from deployer.drivers.traffic.proxies import protocol
from deployer.manifest.models import Manifest
from deployer.model import Waiting
from deployer.transport.greeting import read, refusal, same_version, welcome
from deployer.transport.line_reader import LineReader

IDLE_SECONDS = 60.0  # without a word of the client: a cable that was pulled says nothing
SEND_EVERY = 0.1  # seconds between two batches of requests, and of the share that is in force
END_SECONDS = 5.0  # for what was begun when the client has gone
AT_ONCE = 16  # calls
_GONE = (EOFError, TimeoutError, ValueError)  # what a client does that has left, or cannot be understood


def serve(inward: int, outward: int, clock: Clock) -> None:
    """Answer a client until it leaves; `inward` and `outward` are descriptors."""
    lines = LineReader(inward, protocol.LONGEST)
    out = _Out(outward)
    try:
        traffic = _driver(lines.next(Deadline.after(clock, IDLE_SECONDS)), clock)
    except _GONE:
        return
    except DeployError as error:
        out.write(refusal(error))
        return
    out.write(welcome({"now": clock.now()}))
    _Desk(traffic, out, clock).answer(lines)


def _driver(line: bytes, clock: Clock) -> HAProxyTraffic:
    """Make the driver that the client asks for. Raises Refused."""
    asked = read(line, "the client")
    same_version(asked, "here", "there")
    try:
        settings = protocol.PROXY.validate_python(asked.get("proxy"))
    except ValidationError as error:
        raise Refused(f"the proxy cannot be read: {error}", "use the same version on both sides") from None
    return HAProxyTraffic(Path(settings.config), clock, existing=settings)


class _Out:
    """What the client is told; one line at a time, whoever says it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._mutex = threading.Lock()
        self.gone = threading.Event()

    def say(self, data: Mapping[str, Any]) -> None:
        """Send a message."""
        self.write(protocol.line(data))

    def write(self, data: bytes) -> None:
        """Send a line."""
        with self._mutex:
            try:
                while data:
                    data = data[os.write(self._descriptor, data) :]
            except OSError:
                self.gone.set()


@dataclass
class _Batch:
    """Requests that were answered, on their way to the client, which counts them."""

    send: Callable[[Mapping[str, Any]], None]
    lines: list[str] = field(default_factory=list)
    missed: int = 0
    mutex: threading.Lock = field(default_factory=threading.Lock)

    def feed(self, lines: Sequence[bytes]) -> None:
        with self.mutex:
            self.lines += [line.decode("latin-1") for line in lines]

    def miss(self, lines: int) -> None:
        with self.mutex:
            self.missed += lines

    def flush(self, share: int, waiting: Waiting | None) -> None:
        """Send what has come, the share that is in force, and what is in flight where it was counted."""
        with self.mutex:
            lines, missed, self.lines, self.missed = self.lines, self.missed, [], 0
        counted = {"waiting": [waiting.p, waiting.stable, waiting.candidate]} if waiting else {}
        self.send({"lines": lines, "missed": missed, "share": share, **counted})


class _Desk:
    """Does what the client asks for."""

    def __init__(self, traffic: HAProxyTraffic, out: _Out, clock: Clock) -> None:
        self._traffic, self._out, self._clock = traffic, out, clock
        self._ends: dict[int, threading.Event] = {}

    def answer(self, lines: LineReader) -> None:
        """Answer until the client is gone."""
        pool = ThreadPoolExecutor(AT_ONCE)
        try:
            while not self._out.gone.is_set():
                self._take(protocol.read(lines.next(Deadline.after(self._clock, IDLE_SECONDS))), pool)
        except _GONE:
            pass  # a client that cannot be understood is gone, too
        for end in list(self._ends.values()):
            end.set()
        # What was begun is whole on this host; but nobody waits for a drain any more.
        ended = threading.Thread(target=pool.shutdown, daemon=True)
        ended.start()
        ended.join(END_SECONDS)

    def _take(self, asked: dict[str, Any], pool: ThreadPoolExecutor) -> None:
        number, name = int(asked.get("id", 0)), str(asked.get("call", ""))
        if name == protocol.END:
            if end := self._ends.pop(int(asked.get("of", 0)), None):
                end.set()
        elif name == protocol.SAMPLES:
            end = self._ends[number] = threading.Event()
            threading.Thread(
                target=self._stream, args=(number, str(asked.get("service", "")), end), daemon=True
            ).start()
        elif name in protocol.CALLS:
            pool.submit(self._call, number, name, asked)
        else:
            self._out.say({"id": number})  # a sign of life was asked for

    def _call(self, number: int, name: str, asked: Mapping[str, Any]) -> None:
        with self._told(number):
            call = protocol.CALLS[name]
            given = protocol.decoded(name, asked.get("arguments", {}))
            if name == "check":
                given = {"manifest": Manifest.from_record(given["manifest"])}
            elif name == "configure":
                given = {**given, "release": given["release"].release()}
            if call.timed:
                given["deadline"] = Deadline.after(self._clock, float(asked["seconds"]))
            driver = getattr(self._traffic, call.part) if call.part else self._traffic
            found = getattr(driver, name)(**given)
            self._out.say({"id": number, "ok": call.result.dump_python(found, mode="json")})

    def _stream(self, number: int, service: str, end: threading.Event) -> None:
        with self._told(number):
            batch = _Batch(lambda data: self._out.say({"id": number, **data}))
            with self._traffic.membership.stream(service, batch) as stream:
                self._out.say({"id": number, "ok": None})
                while not end.wait(SEND_EVERY) and not self._out.gone.is_set():
                    stream.check()
                    batch.flush(stream.share(), stream.waiting())

    @contextlib.contextmanager
    def _told(self, number: int) -> Iterator[None]:
        """Send the client what went wrong."""
        try:
            yield
        except DeployError as error:
            self._out.say({"id": number, "error": protocol.trouble(error)})
        except Exception as error:  # noqa: BLE001 - whoever waits for an answer gets one
            failed = DriverFailed(f"{type(error).__name__}: {error}", "please report this")
            self._out.say({"id": number, "error": protocol.trouble(failed)})
