"""A service in memory, the processes that act on it, and copies of all that outlives them.

What outlives a process is its state folder and the world outside. A copy of these two, taken while it works, is what a
SIGKILL at that instant leaves: nothing is unwound, no handler runs, no lock is given back.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

from deployer.app import operations
from deployer.app.operations import AppContext, RolloutResult
from deployer.core.events import Event
from deployer.model import SecretText
from deployer.planning.strategy import load
from deployer.transport.fanout import on_all
from tests.crash.calls import Call, seen
from tests.house import house, request
from tests.memory import PaperPulse, World

REPOSITORY = Path(__file__).parents[2]
FAST = Path("/dev/shm") if Path("/dev/shm").is_dir() else None  # fsync of thousands of stores is not what is tested
SECRET = "correct-horse-battery-staple"  # of every release; it may be seen nowhere
SERVICE = "shop"
STORE = "deployer.db"


@contextmanager
def on_paper() -> Iterator[None]:
    """Let time pass on paper and one thing happen after the other, so that the same instants come again."""
    with ExitStack() as patches:
        for target, value in (
            ("deployer.engine.walk.LeaseRenewer", PaperPulse),
            ("deployer.app.operations.execution.Heartbeat", lambda *_given: nullcontext()),
            ("deployer.engine.perform.on_all", lambda items, work, _limit: on_all(items, work, limit=1)),
            ("deployer.engine.removal.on_all", lambda items, work, _limit: on_all(items, work, limit=1)),
            ("deployer.engine.metrics.in_background", lambda work: work()),
            ("deployer.app.operations.deployment.git_revision", lambda _folder: ""),
            ("deployer.planning.strategy.load", cache(load)),
        ):
            patches.enter_context(mock.patch(target, value))
        yield


class Watcher:
    """Sees what a process does. Those that count, check, kill and disturb are made of it."""

    def instant(self, what: str) -> None:
        """The process may die here."""

    def call(self, process: Process, call: Call, carry_out: Callable[[], Any]) -> Any:
        """Carry out a call of a driver."""
        self.instant(f"before {call}")
        answer = carry_out()
        self.instant(f"after {call}")
        return answer

    def committed(self, process: Process) -> None:
        """A transaction of the store, or a file of the vault, is there to stay."""
        self.instant("after a write of the store")

    def told(self, process: Process, event: Event) -> None:
        """Hear an event."""


@dataclass
class Process:
    """One run of the command: what it acts with, what it told, and the lock that it took last."""

    world: World
    house: AppContext
    events: list[Event] = field(default_factory=list)
    token: int = 0

    def deploy(self, version: str, strategy: str, *, manifest: dict[str, Any], **more: Any) -> RolloutResult:
        described = {"secrets": {"TOKEN": {"env": "TOKEN"}}, "health": {"deadline": "4s"}, **manifest}
        wanted = request(version, strategy, REPOSITORY, manifest=described, **more)
        return operations.deploy(self.house, replace(wanted, secrets=lambda: {"TOKEN": SecretText(SECRET)}))

    def speak(self, what: str, name: str) -> None:
        """Let somebody else `approve` or `refuse` what it waits for."""
        with mock.patch.dict(os.environ, {"DEPLOYER_ACTOR": name}):
            operations.approve(self.house, SERVICE, "because", refuse=what == "refuse")


@dataclass(frozen=True)
class Moment:
    """All that outlives a process, as it was at one instant."""

    n: int
    what: str
    store: bytes
    files: dict[str, bytes]
    world: World


class Stage:
    """One service, in a state folder and a world."""

    def __init__(self, folder: Path, world: World) -> None:
        self.folder, self.world = folder, world

    def opened(self) -> AppContext:
        """Open the house of one process."""
        return house(self.folder, self.world)

    @contextmanager
    def process(self, watcher: Watcher | None = None) -> Iterator[Process]:
        """Run one process, seen by a watcher."""
        eye = watcher or Watcher()
        opened = self.opened()
        process = Process(self.world, opened)
        drivers = seen(self.world.drivers(), lambda call, carry_out: eye.call(process, call, carry_out))

        def sink(event: Event) -> None:
            process.events.append(event)
            eye.told(process, event)

        opened.sink, opened.wire = sink, lambda _manifest, _folder, _hosts: drivers
        for part, name, watched in (
            (opened.store.database, "transaction", _writing),
            (opened.vault, "save", _saving),
            (opened.store.locks, "take", _taking),
        ):
            setattr(part, name, watched(getattr(part, name), process, eye))
        with opened:
            yield process

    def moment(self, n: int = 0, what: str = "") -> Moment:
        """Copy all that outlives a process killed now."""
        with closing(sqlite3.connect(self.folder / STORE)) as store:
            image = bytearray(store.serialize())
        image[18:20] = b"\x01\x01"  # no write-ahead log belongs to the copy (https://sqlite.org/fileformat.html)
        files = {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file() and not path.name.startswith(STORE)
        }
        return Moment(n, what, bytes(image), files, self.world.copy())

    def signature(self) -> object:
        """Return what two moments must differ in to be two: all but what was told, and to whom."""
        world = self.world
        with closing(sqlite3.connect(self.folder / STORE)) as store:
            tables = [row[0] for row in store.execute("select name from sqlite_master where type = 'table'")]
            rows = [store.execute(f"select * from {table}").fetchall() for table in tables if table != "events"]
        servers = sorted((key, sorted(there.items())) for key, there in world.servers.items())
        return repr((rows, world.clock.at, sorted(world.instances.items()), sorted(world.live.items()), servers))

    def texts(self) -> Iterator[tuple[str, bytes]]:
        """Yield all that is written down in the state folder, but for the vault."""
        for path in self.folder.rglob("*"):
            if path.is_file() and "secrets" not in path.parts:
                yield path.name, path.read_bytes()


def _writing(real: Callable[[], Any], process: Process, eye: Watcher) -> Callable[[], Any]:
    @contextmanager
    def transaction() -> Iterator[sqlite3.Connection]:
        eye.instant("before a write of the store")
        with real() as db:
            yield db
        eye.committed(process)

    return transaction


def _saving(real: Callable[..., None], process: Process, eye: Watcher) -> Callable[..., None]:
    def save(*given: Any) -> None:
        eye.instant("before a write of the vault")
        real(*given)
        eye.committed(process)

    return save


def _taking(real: Callable[..., Any], process: Process, eye: Watcher) -> Callable[..., Any]:
    def take(*given: Any) -> Any:
        lock = real(*given)
        process.token = lock.token
        return lock

    return take


@contextmanager
def fresh(world: World) -> Iterator[Stage]:
    """Yield a stage with nothing in its state folder."""
    folder = Path(tempfile.mkdtemp(prefix="dp", dir=FAST))
    try:
        yield Stage(folder, world)
    finally:
        shutil.rmtree(folder)


@contextmanager
def restored(moment: Moment) -> Iterator[Stage]:
    """Yield the stage as it was at a moment, its process dead."""
    with fresh(moment.world.copy()) as stage:
        (stage.folder / STORE).write_bytes(moment.store)
        for name, content in moment.files.items():
            path = stage.folder / name
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.write_bytes(content)
        yield stage
