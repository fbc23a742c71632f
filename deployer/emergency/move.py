"""Moving the users: decide from what the proxy does, write to every worker, read back, then the file."""

from __future__ import annotations

import os

from deployer.emergency import file_lock, record, value_edits
from deployer.emergency.endpoint import Card
from deployer.emergency.proxy_client import MasterClient, Silent

TYPE_CHECKING = False  # typing and collections.abc take longer than what is done here
if TYPE_CHECKING:
    from collections.abc import Callable

    Change = Callable[[list[str]], str]

LOCK_WITHIN = 0.05  # seconds; a reload that takes longer is put right by the bookkeeping


class Moved:
    """What was done: users are on `colour`; on its warm `release`, or rolled back from a candidate on `trial`."""

    __slots__ = ("colour", "release", "trial")

    def __init__(self, colour: str, release: int, trial: bool) -> None:
        self.colour, self.release, self.trial = colour, release, trial


class Ready:
    """A move that is plain, before it is made: where users would go. The lock is held until `close`."""

    __slots__ = ("_card", "_lock", "_master", "_parts", "_service", "moved")

    def __init__(
        self, card: Card, service: str, master: MasterClient, parts: list[str], moved: Moved, lock: int | None
    ) -> None:
        self._card, self._service, self._master, self._parts, self._lock = card, service, master, parts, lock
        self.moved = moved

    @property
    def value(self) -> str:
        """The live value until then."""
        return ",".join(self._parts)

    def go(self) -> Moved:
        """Make it. Raises Silent when the proxy does not respond half way."""
        change: Change = value_edits.taken_back if self.moved.trial else value_edits.gone_back
        current, old = self._master.workers()
        for worker in current:
            self._master.put(worker, self._card.map, self._service, change(self._parts))
        _follow(self._master, old, self._card, self._service, self.moved.colour, change)
        if self._lock is not None:
            _keep(self._card.map, self._service, change)
        return self.moved

    def close(self) -> None:
        """Let go of the lock."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def move(card: Card, service: str, command: str) -> Moved | None:
    """Take everyone off the candidate; with `rollback`, else, off the live release; None where it is not that plain.

    Raises Silent when the proxy does not respond half way.
    """
    ready = look(card, service, command)
    if ready is None:
        return None
    try:
        return ready.go()
    finally:
        ready.close()


def look(card: Card, service: str, command: str) -> Ready | None:
    """See where a command would take users; None where that is not plain.

    Plain is: all workers agree; stable has a server that is up, or every server of the other colour is up and of the
    release that is warm. Raises Silent when the proxy does not respond.
    """
    lock = _locked(card.lock)
    ready = None
    try:
        master = MasterClient(card.socket)
        current, _ = master.workers()
        seen = {master.get(worker, card.map, service) for worker in current}
        parts = value_edits.fields(seen.pop()) if len(seen) == 1 else None
        if parts is None:
            return None
        trial = value_edits.on_trial(parts)
        colour = parts[value_edits.STABLE] if trial else value_edits.other(parts[value_edits.STABLE])
        release = 0 if trial else int(parts[value_edits.WARM])
        if not trial and (command != "rollback" or not release):
            return None
        if all(_fit(master, worker, service, colour, release) for worker in current):
            ready = Ready(card, service, master, parts, Moved(colour, release, trial), lock)
        return ready
    finally:
        if ready is None and lock is not None:
            os.close(lock)


def _fit(master: MasterClient, worker: str, service: str, colour: str, release: int) -> bool:
    """Return whether a colour can take all users: its warm release with every server up, or stable with one."""
    up, down = master.up(worker, f"{service}_{colour}")
    if not release:
        return bool(up)
    return bool(up) and not down and all(name.startswith(f"{service}-r{release}-") for name in up)


def _follow(master: MasterClient, old: list[str], card: Card, service: str, colour: str, change: Change) -> None:
    """Move the connections that workers keep which a reload replaced, if they can serve the colour."""
    for worker in old:
        try:
            parts = value_edits.fields(master.get(worker, card.map, service))
            if parts and master.up(worker, f"{service}_{colour}")[0]:
                master.put(worker, card.map, service, change(parts))
        except Silent:
            continue  # it may end at any moment, and with it its connections


def _keep(path: str, service: str, change: Change) -> None:
    """Write the change to the file that a restarted proxy reads. The bookkeeping does it again, or says why not."""
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - pathlib costs
            lines = file.readlines()
        for n, line in enumerate(lines):
            key, _, text = line.rstrip("\n").partition(" ")
            if key == service and (parts := value_edits.fields(text)):
                lines[n] = f"{key} {change(parts)}\n"
        record.replace(path, "".join(lines), os.stat(path).st_mode & 0o777)  # noqa: PTH116 - the same
    except (OSError, ValueError):
        return  # a full disk must not stop it


def _locked(path: str) -> int | None:
    """Take the lock under which files and proxy change together; None when it is not to be had in no time."""
    try:
        return file_lock.take(path, LOCK_WITHIN)
    except OSError:
        return None
