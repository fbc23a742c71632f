"""Tests of the reader of lines: whatever comes, and however, each wait has its end."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from deployer.core.clock import Deadline
from deployer.transport.line_reader import LineReader
from tests.memory import FakeClock

LONGEST = 4096


class Ticking(FakeClock):
    """A clock by which a second is over whenever somebody looks at it."""

    def monotonic(self) -> float:
        self.at += 1
        return self.at


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # each read gets one packet
    with here, there:
        yield here, there


def test_lines_come_as_they_were_written(ends: tuple[socket.socket, socket.socket]) -> None:
    here, there = ends
    for part in (b"one\ntw", b"o\n", b"left over"):
        there.send(part)
    there.close()
    lines, deadline = LineReader(here, LONGEST), Deadline.after(FakeClock(), 5)

    assert [lines.next(deadline), lines.next(deadline)] == [b"one", b"two"]
    with pytest.raises(EOFError):
        lines.next(deadline)


def test_a_line_that_comes_by_and_by_has_one_deadline(ends: tuple[socket.socket, socket.socket]) -> None:
    here, there = ends
    for _ in range(100):
        there.send(b".")

    with pytest.raises(TimeoutError):
        LineReader(here, LONGEST).next(Deadline.after(Ticking(), 20))


def test_lines_without_end_have_one_deadline_together(ends: tuple[socket.socket, socket.socket]) -> None:
    here, there = ends
    for _ in range(100):
        there.send(b"welcome\n")
    lines, deadline = LineReader(here, LONGEST), Deadline.after(Ticking(), 20)

    def read_all() -> None:
        for _ in range(100):
            lines.next(deadline)

    with pytest.raises(TimeoutError):
        read_all()


def test_a_line_that_is_too_long_is_refused() -> None:
    inward, outward = os.pipe()
    os.write(outward, b"x" * (LONGEST + 1))
    try:
        with pytest.raises(ValueError, match="a line without end"):
            LineReader(inward, LONGEST).next(None)
    finally:
        os.close(inward)
        os.close(outward)
