"""Events of a server as they come, over broken connections: nothing is missed, nothing comes twice.

https://html.spec.whatwg.org/multipage/server-sent-events.html, as far as our server speaks it: lines of ASCII.
"""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Self

import requests

from deployer.client.calls import ANSWER_SECONDS, Broken, Calls
from deployer.core.clock import Deadline
from deployer.core.errors import DeployError, OutOfSight
from deployer.core.events import Event
from deployer.views.jsonl import parse

PATIENCE = 120.0  # seconds without a server, after which it is given up
FIRST = 10.0  # the same, before the first connection
PAUSE = 1.0  # seconds before it is asked again


class EventStream:
    """The events of a path, read by a thread that connects again where a connection broke.

    `last` is the id up to which all was given, `ended` tells that the server has no more for good.
    """

    def __init__(self, calls: Calls, path: str, after: int | None, service: str) -> None:
        self._calls, self._path, self._service = calls, path, service
        self._read = after  # the id up to which all was read
        self._coming: queue.SimpleQueue[Event | Exception | None] = queue.SimpleQueue()
        self._began, self._left = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"events of {path}", daemon=True)
        self._sampled: dict[int, float] = {}
        self.last, self.ended = after or 0, False

    def __enter__(self) -> Self:
        self._thread.start()
        # What happens from now on is seen: an order may be given. What kept it from beginning comes out of `take`.
        self._began.wait(ANSWER_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()  # the thread is not waited for: it ends with the next sign of life

    def take(self, seconds: float) -> Event | None:
        """Return the next event; None when none came for so long. Raises OutOfSight, and what the server refused."""
        if self.ended:
            return None
        try:
            found = self._coming.get(timeout=seconds)
        except queue.Empty:
            return None
        if isinstance(found, Exception):
            raise found
        if found is None:
            self.ended = True
            return None
        self.last = max(self.last, found.id)
        return found

    def _run(self) -> None:
        try:
            self._connected()
        except Exception as error:  # noqa: BLE001 - raised by `take`, in the thread of who listens
            self._coming.put(error)
        else:
            self._coming.put(None)
        finally:
            self._began.set()

    def _connected(self) -> None:
        """Read one connection after the other, until the server says that there is no more."""
        clock, silent = self._calls.clock, False
        patience = Deadline.after(clock, FIRST)
        while not self._left.is_set():
            pause = PAUSE
            try:
                answer = self._calls.stream(self._path, self._read)
                if answer is None:
                    return
                if silent:
                    self._say("the server is reachable again")
                patience, silent = Deadline.after(clock, PATIENCE), False
                with answer:
                    self._begin(answer)
                    self._listen(answer)
            except Broken as broken:
                pause = max(PAUSE, broken.after)
                if not broken.again or patience.left() <= pause:
                    raise self._given_up(broken) from None
                if self._began.is_set() and not silent:
                    silent = True
                    self._say(f"the server does not respond ({broken.why}): trying again for {PATIENCE:g} s")
            self._left.wait(pause)

    def _begin(self, answer: requests.Response) -> None:
        """Take note of where it begins: from here on nothing is missed."""
        at = answer.headers.get("last-event-id", "")
        if self._read is None and at.isdigit():
            self._read = int(at)
        self._began.set()

    def _listen(self, answer: requests.Response) -> None:
        """Read a connection to its end, whatever that is: what comes after it is read again."""
        with suppress(requests.RequestException, OSError):  # what broke it, the next connection meets, too
            for number, text in _blocks(answer):
                event = self._event(number, text) if text else None
                if number is not None:
                    self._read = max(self._read or 0, number)
                if event is not None:
                    self._coming.put(event)
                if self._left.is_set():
                    return

    def _event(self, number: int | None, text: str) -> Event | None:
        """Read an event; None for one that was given before."""
        event = parse(json.loads(text))
        if number is not None:
            return None if self._read is not None and number <= self._read else replace(event, id=number)
        if event.at <= self._sampled.get(event.rollout, 0.0):
            return None
        self._sampled[event.rollout] = event.at
        return event

    def _say(self, text: str) -> None:
        self._coming.put(Event("note", self._calls.clock.now(), self._service, 0, {"text": text}))

    def _given_up(self, broken: Broken) -> DeployError:
        if not self._began.is_set():  # whoever waits for it has not given an order yet
            return self._calls.lost(broken, unknown=False)
        server = self._calls.server
        return OutOfSight(
            f"{server.url} has been unreachable for {PATIENCE:g} s ({broken.why}); what was begun there goes on",
            f"`deploy {server.option} watch` follows it, `deploy {server.option} status` shows its state",
        )


def _blocks(answer: requests.Response) -> Iterator[tuple[int | None, str]]:
    """Yield the id and the data of each block; empty data for one that is no event: a sign of life."""
    number, data = None, []
    size = 4096 if getattr(answer.raw, "chunked", False) else 1  # else a read waits until so much is there
    for line in answer.iter_lines(chunk_size=size):
        name, _, value = line.decode("ascii", "replace").partition(":")
        value = value.removeprefix(" ")
        if name == "id" and value.isdigit():
            number = int(value)
        elif name == "data":
            data.append(value)
        elif not line:
            yield number, "\n".join(data)
            number, data = None, []
