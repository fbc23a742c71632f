"""A thread of the server that looks at something again and again, as long as the server runs.

What is wrong with a look is logged, and ends that look alone: the next one comes at its time, after a bug with a pause
that grows.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from deployer.core.background import BackgroundThread
from deployer.core.errors import DeployError, bug
from deployer.core.said_once import SaidOnce
from deployer.server.log import ServerLog

MOST_SECONDS = 600.0  # between two looks of which the first met a bug


class Loop(ABC):
    """Calls `look` at once and then every so many seconds. `failed` is the event and the words for a look that fails.

    `end` is how many seconds a look that is in progress gets when the server stops. `wait` passes the time between two
    looks, unless the end comes first.
    """

    def __init__(
        self,
        log: ServerLog,
        name: str,
        failed: tuple[str, str],
        every: float,
        end: float,
        *,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        self.name = name
        self.bugs = 0  # that looks have met
        self._log, self._failed, self._every = log, failed, every
        self._said = SaidOnce[str]()
        self._thread = BackgroundThread(name, self._run, patience=end)
        self._wait = wait or self._thread.over.wait

    @abstractmethod
    def look(self) -> None:
        """Look once."""

    def start(self) -> None:
        """Look at once, then again and again."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more, and wait for a look that is in progress."""
        self._thread.stop()

    @property
    def stopping(self) -> bool:
        """Whether the server stops."""
        return self._thread.over.is_set()

    def say(self, about: str, event: str, text: str, **fields: Any) -> None:
        """Log a sentence about something once, until there is another one about it or it is forgotten."""
        if self._said.is_new(about, text):
            self._log.say(event, text, text=text, **fields)

    def forget(self, about: str) -> None:
        """Log the next sentence about something in any case."""
        self._said.settle(about)

    def _run(self, over: threading.Event) -> None:
        event, words = self._failed
        pause = self._every
        while not over.is_set():
            try:
                self.look()
            except DeployError as error:
                self.say("", event, f"{words}: {error}")
                pause = self._every
            except Exception as error:  # noqa: BLE001 - a bug must not end the looking for good
                self.bugs += 1
                self.say("", event, f"{words}: {bug(error)}")
                pause = max(self._every, min(pause * 2, MOST_SECONDS))
            else:
                self.forget("")
                pause = self._every
            self._wait(pause)
