"""What comes by a socket or a pipe, line by line."""

from __future__ import annotations

import os
import select
import socket

from deployer.core.clock import Deadline

_AT_ONCE = 1 << 18  # bytes of one read


class LineReader:
    """The lines of a socket or a descriptor; none may have more than `longest` bytes."""

    def __init__(self, source: socket.socket | int, longest: int) -> None:
        self._source = source
        self.longest = longest
        self._read = bytearray()

    def next(self, deadline: Deadline | None) -> bytes:
        """Wait until the next line is there and return it; None waits until the end.

        Raise EOFError at the end, TimeoutError when no whole line has come by then, and ValueError for a line without
        end.
        """
        searched = 0
        while (end := self._read.find(b"\n", searched)) < 0:
            searched = len(self._read)
            self._refuse_endless(searched)
            self._read += self._more(deadline)
        self._refuse_endless(end)
        found = bytes(self._read[:end])
        del self._read[: end + 1]
        return found

    def _refuse_endless(self, length: int) -> None:
        if length > self.longest:
            raise ValueError(f"a line without end: {bytes(self._read[:60])!a}")

    def _more(self, deadline: Deadline | None) -> bytes:
        if deadline is not None and deadline.passed():  # also while something comes without end
            raise TimeoutError
        try:
            poll = select.poll()
            poll.register(self._source, select.POLLIN)
            if not poll.poll(None if deadline is None else deadline.left() * 1000):
                raise TimeoutError
            # A socket that was closed meanwhile says so; its descriptor may be somebody else's by now.
            source = self._source
            more = os.read(source, _AT_ONCE) if isinstance(source, int) else source.recv(_AT_ONCE)
        except TimeoutError:
            raise
        except (OSError, ValueError):
            raise EOFError from None
        if not more:
            raise EOFError
        return more
