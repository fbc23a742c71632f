"""Which machines answer. What stands there was written down; that the machine is still there, it must say itself."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from deployer import commands
from deployer.clock import Clock, Deadline
from deployer.drivers.ports import READ_SECONDS
from deployer.machine import CONNECT_SECONDS, Host

AT_ONCE = 20
AGAIN_SECONDS = 3.0  # after which a machine is asked again, in the background
STALE_SECONDS = 20.0  # after which an answer is too old to be believed


@dataclass(frozen=True)
class Answer:
    """Why a machine was silent, empty when it was not, and when that was."""

    why: str
    at: float


class Presence:
    """Asks machines by ssh whether they are there, and remembers for a moment what they said."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._mutex = threading.Lock()
        self._answers: dict[str, Answer] = {}
        self._asking: set[str] = set()

    def silent(self, hosts: Iterable[Host]) -> dict[str, str]:
        """Give the machines that do not answer, and why; this one always does."""
        there = {host.name: host for host in hosts if host.connection != "local"}
        now = self._clock.monotonic()
        with self._mutex:
            ages = {name: now - self._answers[name].at if name in self._answers else STALE_SECONDS for name in there}
            due = [
                there[n] for n, age in ages.items() if AGAIN_SECONDS <= age < STALE_SECONDS and n not in self._asking
            ]
            self._asking |= {host.name for host in due}
        for host in due:
            threading.Thread(target=self._ask, args=(host,), name=f"knock-{host.name}", daemon=True).start()
        if unknown := [there[name] for name, age in ages.items() if age >= STALE_SECONDS]:
            with ThreadPoolExecutor(max_workers=min(AT_ONCE, len(unknown)), thread_name_prefix="knock") as pool:
                list(pool.map(self._ask, unknown))
        with self._mutex:
            return {name: self._answers[name].why for name in there if self._answers[name].why}

    def lost(self, name: str, why: str) -> None:
        """Remember that a machine was just found silent."""
        with self._mutex:
            self._answers[name] = Answer(why, self._clock.monotonic())

    def _ask(self, host: Host) -> None:
        why = self._knock(host)
        with self._mutex:
            self._answers[host.name] = Answer(why, self._clock.monotonic())
            self._asking.discard(host.name)

    def _knock(self, host: Host) -> str:
        patience = Deadline.after(self._clock, min(READ_SECONDS, CONNECT_SECONDS + 5))
        try:
            commands.run([*host.ssh(), "true"], Path("/"), os.environ, patience.left, most=1 << 16)
        except commands.CommandFailed as failed:
            return failed.message
        return ""
