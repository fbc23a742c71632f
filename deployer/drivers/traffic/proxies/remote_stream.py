"""The requests that a proxy on another host answers, as it tells of them."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from deployer.core.clock import Clock
from deployer.core.errors import Unreachable
from deployer.drivers.traffic.haproxy.request_stream import Feed
from deployer.model import Waiting

STILL = 10.0  # seconds without a word of a stream, after which nobody is there


class FarStream:
    """The requests that a proxy on another host answers, as it tells of them."""

    def __init__(self, host: str, feed: Feed, clock: Clock) -> None:
        self._host, self._feed, self._clock = host, feed, clock
        self._hint = f"`deploy hosts check --limit {host}` says why"
        self._begun = threading.Event()
        self._broken = ""
        self._share = 0
        self._waiting: Waiting | None = None
        self._heard = clock.monotonic()

    def wait(self, seconds: float) -> None:
        """Wait until it has begun. Raises Unreachable."""
        if not self._begun.wait(seconds):
            raise Unreachable(f"{self._host}: no request stream within {seconds:g} s", self._hint)
        self.check()

    def check(self) -> None:
        """Raise Unreachable when nothing is told any more."""
        if self._broken:
            raise Unreachable(f"{self._host}: {self._broken}", self._hint)
        if self._clock.monotonic() - self._heard > STILL:
            raise Unreachable(f"{self._host}: the request stream has said nothing for {STILL:g} s", self._hint)

    def share(self) -> int:
        """Return the share in force there."""
        return self._share

    def waiting(self) -> Waiting | None:
        """Return what was in flight when the proxy there was asked since the last call, if it was."""
        last, self._waiting = self._waiting, None
        return last

    def told(self, answer: Mapping[str, Any]) -> None:
        """Take what is told."""
        self._heard = self._clock.monotonic()
        if "lines" in answer:
            self._feed.feed([str(line).encode("latin-1") for line in answer["lines"]])
            if missed := int(answer.get("missed", 0)):
                self._feed.miss(missed)
            self._share = int(answer["share"])
            if "waiting" in answer:
                p, stable, candidate = answer["waiting"]
                self._waiting = Waiting(float(p), int(stable), int(candidate))
        elif "ok" not in answer:
            failed = answer.get("error", {})
            self._broken = str(answer.get("lost") or failed.get("message") or "the request stream ended")
            self._begun.set()
        else:
            self._begun.set()
