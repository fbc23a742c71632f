"""Sends the notices of one drive to one recipient, from a thread of its own: a rollout never waits for it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

from deployer.drivers.notices.notice import Notice, NotSent

MOST = 32  # notices that may wait; a rollout has a few
PAUSES = (1.0, 3.0)  # seconds before another attempt
SEND_SECONDS = 5.0  # for one attempt
END_SECONDS = 10.0  # for which a command waits at its end, for all recipients together


@dataclass(frozen=True)
class NoticePatience:
    """How long the end of a drive waits for notices, in seconds, and the pauses between attempts to send one."""

    seconds: float = END_SECONDS
    pauses: tuple[float, ...] = PAUSES


class Outbox:
    """A queue with an end, and the thread that empties it.

    `send` sends once, and raises NotSent. `failed` hears once of each notice that was given up, `ended` when nothing
    more will be sent; both in the thread of the outbox, or of whoever closes it.
    """

    def __init__(
        self,
        send: Callable[[Notice], None],
        failed: Callable[[Notice, str], None],
        ended: Callable[[], None] = lambda: None,
        *,
        pauses: tuple[float, ...] = PAUSES,
    ) -> None:
        self._send, self._failed, self._ended, self._pauses = send, failed, ended, pauses
        self._waiting: queue.Queue[Notice | None] = queue.Queue()
        self._over = threading.Event()  # nobody listens any more: no further attempt
        self._mutex = threading.Lock()
        self._unsent: list[Notice] = []  # in their order; the first is in progress
        self._thread = threading.Thread(target=self._run, name="notices", daemon=True)
        self._begun = self._finished = self._told = False

    def put(self, notice: Notice) -> None:
        """Take a notice; never waits."""
        with self._mutex:
            why = self._take(notice)
        if why:
            self._failed(notice, why)

    def _take(self, notice: Notice) -> str:
        if self._finished or len(self._unsent) >= MOST:
            return f"there is no room: {len(self._unsent)} others are waiting to be sent"
        if not self._begin():
            return "no thread can be started on this host"
        self._unsent.append(notice)
        self._waiting.put(notice)
        return ""

    def finish(self) -> None:
        """Announce that nothing more comes: the thread ends after what it has."""
        with self._mutex:
            if self._finished:
                return
            self._finished = True
            self._waiting.put(None)
            begun = self._begin()
        if not begun:
            self._end()

    def close(self, seconds: float) -> None:
        """Finish, wait at most so long, and give up what is not sent by then."""
        self.finish()
        if self._begun:
            self._thread.join(seconds)
        if not self._thread.is_alive():
            return
        with self._mutex:
            self._over.set()
            late, self._unsent = self._unsent, []
        for notice in late:
            self._failed(notice, "it took too long; this command did not wait for it any more")
        self._end()

    def _begin(self) -> bool:
        """Start the thread if need be; return whether there is one."""
        if not self._begun:
            try:
                self._thread.start()
            except RuntimeError:  # the host has no more of them
                return False
            self._begun = True
        return True

    def _run(self) -> None:
        while (notice := self._waiting.get()) is not None:
            why = self._attempts(notice)
            with self._mutex:
                if self._over.is_set():
                    return  # whoever closed it has told so
                self._unsent.remove(notice)
            if why:
                self._failed(notice, why)
        self._end()

    def _end(self) -> None:
        with self._mutex:
            first, self._told = not self._told, True
        if first:
            self._ended()

    def _attempts(self, notice: Notice) -> str:
        """Send it, again after a while if that may help; return why it was not, "" when it was."""
        for pause in (*self._pauses, None):
            try:
                self._send(notice)
            except NotSent as error:
                if pause is None or not error.again or self._over.wait(pause):
                    return str(error)
            except Exception as error:  # noqa: BLE001 - a bug of ours, or of a library, is no reason to fall silent
                return f"internal error: {type(error).__name__}"
            else:
                return ""
        return ""
