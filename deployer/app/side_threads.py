"""Work beside a loop that looks again and again: each thing in a thread of its own, and none of them twice at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import DeployError, bug
from deployer.core.said_once import SaidOnce

K = TypeVar("K", bound=Hashable)


class SideThreads(Generic[K]):
    """A thread for each key. `say` gets what goes wrong with one: once, until it is `settled`; the others go on."""

    def __init__(self, say: Callable[[K, str], None]) -> None:
        self._say = say
        self._threads: dict[K, threading.Thread] = {}
        self._said = SaidOnce[K]()

    def __contains__(self, key: K) -> bool:
        """Whether a thread was at work on it at the last `prune`, or has begun since."""
        return key in self._threads

    @property
    def busy(self) -> bool:
        """Whether one is at work."""
        return any(thread.is_alive() for thread in self._threads.values())

    def prune(self) -> None:
        """Forget threads that have ended."""
        self._threads = {key: thread for key, thread in self._threads.items() if thread.is_alive()}

    def begin(self, key: K, name: str, work: Callable[[], None]) -> None:
        """Begin a work, unless a thread is at work on the same."""
        if key in self._threads:
            return

        def do() -> None:
            with self.noted(key):
                work()

        self._threads[key] = threading.Thread(target=do, name=name, daemon=True)
        self._threads[key].start()

    @contextmanager
    def noted(self, key: K) -> Iterator[None]:
        """Report what goes wrong in the block."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - a bug that one meets is not the end of the others
            text = str(error) if isinstance(error, DeployError) else bug(error)
            if self._said.is_new(key, text):
                self._say(key, text)

    def settled(self, key: K) -> None:
        """Report the next trouble with it in any case."""
        self._said.settle(key)

    def join(self, seconds: float) -> None:
        """Wait until nothing is at work, for so long at most."""
        deadline = Deadline.after(SystemClock(), seconds)
        for thread in tuple(self._threads.values()):
            thread.join(deadline.left())
