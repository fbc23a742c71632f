"""Several proxies on other hosts: all are asked at once, and moved once it is clear where to."""

from __future__ import annotations

import os
import select
import time

from deployer.emergency import value_edits
from deployer.emergency.move import Moved

TYPE_CHECKING = False  # typing and collections.abc take longer than what is done here
if TYPE_CHECKING:
    from deployer.emergency.endpoint import Far

LOOK_WITHIN = 8.0  # seconds for ssh to get there, and for an answer
MOVE_WITHIN = 5.0
KILL = 9  # signal


class RemoteEndpoint:
    """One proxy that is asked, by one ssh whose answers come line by line."""

    __slots__ = ("_pid", "_read", "_rest", "_write", "name")

    def __init__(self, far: Far, service: str, command: str) -> None:
        self.name, self._rest = far.name, b""
        there = f"deploy proxy --move {command} {service} {far.card.socket} {far.card.map} {far.card.lock}"
        given, self._write = os.pipe2(os.O_CLOEXEC)
        self._read, told = os.pipe2(os.O_CLOEXEC)
        try:
            streams = [(os.POSIX_SPAWN_DUP2, given, 0), (os.POSIX_SPAWN_DUP2, told, 1)]
            self._pid = os.posix_spawnp(far.way[0], [*far.way, there], os.environ, file_actions=streams)
        finally:
            os.close(given)
            os.close(told)

    def fileno(self) -> int:
        """Return what its answers come by."""
        return self._read

    def hear(self) -> str | None:
        """Take what has come: a line, "" if there is none yet, None at the end."""
        more = os.read(self._read, 4096)
        line, newline, rest = (self._rest + more).partition(b"\n")
        self._rest = rest if newline else line
        if newline:
            return line.decode(errors="replace")
        return "" if more else None

    def go(self) -> None:
        """Send the word to go. What has ended meanwhile does not respond then."""
        try:
            os.write(self._write, b"go\n")
        except BrokenPipeError:
            return

    def close(self) -> None:
        """End it; where nobody said go, nothing was done."""
        os.close(self._write)
        os.close(self._read)
        if not os.waitpid(self._pid, os.WNOHANG)[0]:
            os.kill(self._pid, KILL)
            os.waitpid(self._pid, 0)


class MovedAll:
    """What was done at several proxies: where users are now, and what those may still do that did not respond."""

    __slots__ = ("moved", "unknown", "values")

    def __init__(self, moved: Moved, unknown: list[str], values: list[str]) -> None:
        self.moved, self.unknown, self.values = moved, unknown, values


def move(fars: list[Far], service: str, command: str) -> MovedAll | None:
    """Move users at all proxies that answer; return where to, the proxies of which it is unknown, and what they may do.

    A candidate is rolled back where it has users. Where none has, all that answer must mean the same; None where they
    do not, or where it is not plain: nothing is changed then.
    """
    every: list[RemoteEndpoint] = []
    try:
        every += (RemoteEndpoint(far, service, command) for far in fars)
        said = _hear(every, LOOK_WITHIN)
        ready = {one: moved for one in every if (moved := _ready(said[one]))}
        trial = {one: moved for one, moved in ready.items() if moved.trial}
        chosen = trial or ready
        silent = [one for one in every if not said[one]]
        meant = {(moved.colour, moved.release) for moved in chosen.values()}
        if len(meant) != 1 or (not trial and len(ready) + len(silent) < len(every)):
            return None
        for one in chosen:
            one.go()
        done = _hear(list(chosen), MOVE_WITHIN)
        unknown = [one.name for one in every if one in silent or (one in chosen and done[one] != "moved")]
        values = list(dict.fromkeys(value for one in chosen if (value := _value(said[one]))))
        return MovedAll(next(iter(chosen.values())), unknown, values)
    finally:
        for one in every:
            one.close()


def _ready(line: str) -> Moved | None:
    words = line.split()
    plain = len(words) in (4, 5) and words[0] == "ready" and words[1] in ("blue", "green") and words[2].isdigit()
    return Moved(words[1], int(words[2]), words[3] == "1") if plain else None


def _value(line: str) -> str:
    """Read the live value before the move; "" where none is said that can be read."""
    words = line.split()
    return words[4] if len(words) == 5 and value_edits.fields(words[4]) else ""


def _hear(asked: list[RemoteEndpoint], seconds: float) -> dict[RemoteEndpoint, str]:
    """Wait for a line of each; "" of one that says nothing in time."""
    until = time.monotonic() + seconds
    said = dict.fromkeys(asked, "")
    waiting = list(asked)
    while waiting and (left := until - time.monotonic()) > 0:
        for one in select.select(waiting, [], [], left)[0]:
            line = one.hear()
            if line != "":
                said[one] = line or ""
                waiting.remove(one)
    return said
