"""The load process's books: every request that is begun is also closed, answered or failed."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Awaitable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.load.options import Options
from tests.load.request import Request
from tests.load.wire import Answer, Lost


@dataclass(frozen=True)
class Counters:
    """What has happened until now; sent = answered + failed + open."""

    at: float = 0.0  # Unix seconds
    sent: int = 0
    answered: int = 0
    failed: int = 0
    by_kind: dict[str, int] = field(default_factory=dict)  # answered
    by_version: dict[str, int] = field(default_factory=dict)  # answered
    moved: int = 0  # WebSockets that were asked to connect again
    lag: float = 0.0  # the longest time, in seconds, that this process was kept from running

    @property
    def open(self) -> int:
        """Requests in progress."""
        return self.sent - self.answered - self.failed


class Ledger:
    """Accounts for requests: one JSON line each in requests.jsonl, counters in status.json."""

    def __init__(self, folder: Path, options: Options) -> None:
        self.options = options
        self.sent = self.answered = self.failed = self.moved = 0
        self.lag = 0.0
        self.by_kind: Counter[str] = Counter()
        self.by_version: Counter[str] = Counter()
        self._status = folder / "status.json"
        self._requests = (folder / "requests.jsonl").open("w")
        self._pattern = re.compile(options.version_pattern.encode()) if options.version_pattern else None

    async def account(self, kind: str, client: str, exchange: Awaitable[Answer], method: str = "GET") -> Answer | None:
        """Carry a request out and enter it; return its answer, or None when there was no whole one in time."""
        self.sent += 1
        start, began = time.time(), time.monotonic()
        answer, error = None, ""
        try:
            async with asyncio.timeout(self.options.timeout):
                answer = await exchange
        except TimeoutError:
            error = f"no response within {self.options.timeout:g} s"
        except Lost as lost:
            error = str(lost)
        if answer is not None and answer.status >= self.options.fail_from:
            error = f"HTTP {answer.status}"
        status = answer.status if answer is not None else 0
        version = self.version(answer) if answer is not None else ""
        self._enter(Request(kind, client, start, time.monotonic() - began, status, version, error, method))
        return answer

    def version(self, answer: Answer) -> str:
        """Return which version of the service gave the answer, "" if it does not say."""
        if named := answer.header(self.options.version_header):
            return named
        found = self._pattern.search(answer.body) if self._pattern else None
        return found[1].decode(errors="replace") if found else ""

    def _enter(self, request: Request) -> None:
        if request.error:
            self.failed += 1
        else:
            self.answered += 1
            self.by_kind[request.kind] += 1
            self.by_version[request.version] += 1
        self._requests.write(request.dump() + "\n")

    def publish(self) -> None:
        """Show the state of the books to whoever reads the folder."""
        self._requests.flush()
        counters = Counters(
            time.time(),
            self.sent,
            self.answered,
            self.failed,
            dict(self.by_kind),
            dict(self.by_version),
            self.moved,
            self.lag,
        )
        fresh = self._status.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(counters)))
        fresh.replace(self._status)

    def close(self) -> None:
        """Publish for the last time."""
        self.publish()
        self._requests.close()
