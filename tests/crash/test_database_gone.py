"""The store in PostgreSQL: its database is gone from an instant on, loses its connections there, or its client dies.

The world is that of the crash suite; the database is real. Whatever comes, users are where something is up, the command
ends with an outcome or with a sentence, and once the database is there again `resume` or `abort` brings all to an end.
"""

from __future__ import annotations

import random
import shutil
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psycopg
import pytest

from deployer.app.operations import AppContext
from deployer.core.errors import DeployError
from deployer.store import Store
from deployer.store.postgres import claims
from deployer.store.postgres.shared import opened
from tests import tiers
from tests.crash.calls import Call
from tests.crash.explore import Picture, Recovery, abort, resume
from tests.crash.promises import Promises
from tests.crash.scenarios import SCENARIOS, Scenario
from tests.crash.stage import FAST, SERVICE, Process, Stage, Watcher
from tests.house import house
from tests.memory import Crash, World
from tests.postgres import Server

pytestmark = [pytest.mark.xdist_group("postgres"), pytest.mark.usefixtures("paper")]

Kind = Literal["gone", "cut", "killed"]
KINDS: tuple[Kind, ...] = ("gone", "cut", "killed")
CHOSEN = ("canary: done", "canary: worse", "rollback: warm")  # at each instant, in full
OTHERS = [s.name for s in SCENARIOS if s.past and not (s.before or s.asks) and s.ends in ("done", "reverted")]
NAMES = dict.fromkeys((*CHOSEN, *OTHERS)) if tiers.FULL else CHOSEN
FEW = 2  # instants of each kind and scenario otherwise
PAIRS = 8  # of instants, of a scenario and of its resumption, at which somebody is killed


class Role:
    """A user of the database with a schema of its own, who can be shut out: to him the database is gone."""

    def __init__(self, server: Server) -> None:
        self.name = f"r{uuid.uuid4().hex[:12]}"
        self._db = psycopg.connect(server.address(), autocommit=True)
        self._do(f"create role {self.name} login")
        self._do(f"create schema authorization {self.name}")
        address = server.address(self.name)
        self.address = address.replace("postgres@", f"{self.name}@")

    def _do(self, statement: str) -> None:
        self._db.execute(statement.encode())

    def end_connections(self) -> None:
        self._do(f"select pg_terminate_backend(pid, 20000) from pg_stat_activity where usename = '{self.name}'")

    def shut_out(self) -> None:
        self._do(f"alter role {self.name} nologin")
        self.end_connections()

    def let_in(self) -> None:
        """Be there again; whoever held claims has not renewed them for long."""
        self._do(f"alter role {self.name} login")
        self._do(f"delete from {self.name}.claims")

    def close(self) -> None:
        self.end_connections()
        self._do(f"drop schema {self.name} cascade")
        self._do(f"drop role {self.name}")
        self._db.close()


class SharedStage(Stage):
    """A stage whose store is in the database."""

    def __init__(self, folder: Path, world: World, role: Role) -> None:
        super().__init__(folder, world)
        self.role = role

    def opened(self) -> AppContext:
        clock = self.world.clock
        return house(self.folder, self.world, store=Store(self.folder, clock, shared=opened(self.role.address, clock)))


@dataclass
class Trouble(Watcher):
    """Lets trouble come at an instant, and looks at the users at each of them."""

    stage: SharedStage
    scenario: Scenario
    kind: Kind = "gone"
    at: int = 0
    count: int = 0

    def __post_init__(self) -> None:
        self._promises = Promises(self.stage, gap=self.scenario.gap, lease=self.scenario.lease)
        self._thread = threading.current_thread()

    def instant(self, what: str) -> None:
        if threading.current_thread() is not self._thread:
            return  # that of a recording writes when it likes
        self._promises.users()
        self._promises.places()
        self.count += 1
        if self.count == self.at:
            self.stage.role.end_connections() if self.kind == "cut" else self.stage.role.shut_out()
            if self.kind == "killed":
                raise Crash(what)

    def call(self, process: Process, call: Call, carry_out: object) -> object:
        self._promises.drained(call)
        self.instant(f"before {call}")
        answer = carry_out()  # type: ignore[operator]
        self._promises.drains(call)
        self.instant(f"after {call}")
        return answer


@contextmanager
def stage(server: Server, scenario: Scenario) -> Iterator[SharedStage]:
    """Yield the scenario as it begins."""
    role = Role(server)
    try:
        folder = Path(tempfile.mkdtemp(prefix="dp", dir=FAST))
        try:
            made = SharedStage(folder, World(), role)
            with made.process() as process:
                for version in scenario.past:
                    scenario.deploy(process, version)
            for knob, value in scenario.world.items():
                setattr(made.world, knob, value)
            yield made
        finally:
            shutil.rmtree(folder)
    finally:
        role.close()


def tried(server: Server, scenario: Scenario, kind: Kind, at: int, how: Recovery, again: int = 0) -> tuple[int, int]:
    """Run the scenario with trouble at an instant; bring it to its end, and check that.

    Whoever brings it there is killed at the instant `again`, and somebody else goes on. Return how many instants the
    scenario has, and how many the way to its end.
    """
    with stage(server, scenario) as there:
        eye = Trouble(there, scenario, kind, at)
        second, last = Trouble(there, scenario, "killed", again), Trouble(there, scenario)
        # It ends with an outcome, or with a sentence; a bug would be another error.
        with suppress(DeployError, Crash), there.process(eye) as process:
            scenario.command(process)
        there.role.let_in()
        if again:
            with suppress(DeployError, Crash), there.process(second) as process:
                bring_to_end(process, scenario, how)
            assert second.count >= again, "it was killed again"
            there.role.let_in()
        with there.process(last) as process:
            bring_to_end(process, scenario, how)
            check_end(process)
        return eye.count, last.count


def bring_to_end(process: Process, scenario: Scenario, how: Recovery) -> None:
    """Go on with what was begun, or begin it."""
    if process.house.store.rollouts.in_progress(SERVICE) is not None:
        how(process)
    if not process.house.store.rollouts.of(SERVICE)[0].number > len(scenario.past):
        scenario.command(process)


def check_end(process: Process) -> None:
    """Nothing is in progress; users are on one whole release, and what is recorded is what stands."""
    found, live = Picture.of(process), process.world.live[SERVICE]
    assert found.outcome in ("done", "reverted"), found
    assert found.left == (), found
    assert (live.share, live.baseline) == (0, 0)
    versions = {process.world.versions[i.release] for i in process.world.instances.values() if i.colour == live.stable}
    assert [f"{version} stable" for version in versions] == [found.books.partition(",")[0]]
    assert process.house.store.locks.is_free(SERVICE)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.long("a database that is gone at each instant", every_change=True)
def test_whenever_the_database_goes_it_comes_to_an_end(
    postgres: Server, monkeypatch: pytest.MonkeyPatch, name: str, kind: Kind
) -> None:
    monkeypatch.setattr(claims, "LAPSE_SECONDS", 600.0)  # nothing lapses by itself on a busy host
    scenario = next(s for s in SCENARIOS if s.name == name)
    instants, _ = tried(postgres, scenario, kind, 0, resume)
    assert instants > 20
    # Each instant has one of the three kinds.
    mine = range(1 + (KINDS.index(kind) + tiers.SEED) % len(KINDS), instants + 1, len(KINDS))
    each = tiers.FULL and name in CHOSEN
    drawn = mine if each else random.Random(f"{tiers.SEED} {name} {kind}").sample(mine, FEW)
    for at in drawn:
        tried(postgres, scenario, kind, at, resume if at % 2 else abort)


@pytest.mark.parametrize("name", CHOSEN)
@pytest.mark.long("killed at an instant, and again on the way to its end")
def test_killed_twice_it_comes_to_an_end(postgres: Server, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(claims, "LAPSE_SECONDS", 600.0)
    scenario = next(s for s in SCENARIOS if s.name == name)
    instants, _ = tried(postgres, scenario, "killed", 0, resume)
    draw, twice = random.Random(f"{tiers.SEED} {name} twice"), 0
    for at in draw.sample(range(1, instants + 1), PAIRS):
        how = resume if at % 2 else abort
        _, more = tried(postgres, scenario, "killed", at, how)
        if more:  # else it had come to its end
            tried(postgres, scenario, "killed", at, how, draw.randint(1, more))
            twice += 1
    assert twice > PAIRS // 2
