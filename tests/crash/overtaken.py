"""Overtaken at every moment: somebody else takes the lock between two events, and from then on nothing is changed."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from typing import Any

from deployer.core.errors import DeployError, LockLost
from deployer.core.events import Event
from tests.crash.explore import Explorer, Eye
from tests.crash.promises import Broken
from tests.crash.scenarios import Scenario
from tests.crash.stage import SERVICE, STORE, Process, Stage, restored

# At the first a change is in progress that was allowed as it began; behind the others there is nothing left to change.
LEFT_OUT = ("traffic.changed", "rollout.paused", "rollout.ended")
TABLES = ("journal", "rollouts", "services", "releases", "audit")


class Overtaken(Eye):
    """Hands the lock to somebody else when the process has told so many things; 0 for never."""

    def __init__(self, stage: Stage, scenario: Scenario, at: int) -> None:
        super().__init__(stage, scenario)
        self.events, self.at = 0, at
        self.books: object = None  # when the lock was taken

    def told(self, process: Process, event: Event) -> None:
        super().told(process, event)
        if event.kind not in LEFT_OUT and process.token:
            self.events += 1
            if self.events == self.at:
                self._overtake()

    def _overtake(self) -> None:
        with closing(sqlite3.connect(self.stage.folder / STORE)) as store, store:
            store.execute("update locks set token = token + 1, owner = 'somebody' where service = ?", (SERVICE,))
        self.books = books(self.stage)


def books(stage: Stage) -> Any:
    """Return what the store says of rollouts, releases and deeds."""
    with closing(sqlite3.connect(stage.folder / STORE)) as store:
        return [store.execute(f"select * from {table}").fetchall() for table in TABLES]


class Takeovers(Explorer):
    """Takes the lock away from the command of one scenario."""

    def all(self, some: int | None, seed: int) -> None:
        """Take it at each moment, or at so many that are drawn."""
        moments = range(1, self._take(0).events + 1)
        draw = random.Random(f"{seed} {self.scenario.name}")
        for at in moments if some is None else sorted(draw.sample(moments, min(some, len(moments)))):
            if self.enough:
                break
            self.found.tried += 1
            try:
                self._take(at)
            except Broken as broken:
                self.found.wrong.append(f"{self.scenario.name}: overtaken at event {at}: {broken}")

    def _take(self, at: int) -> Overtaken:
        with restored(self._start) as stage:
            eye, said = Overtaken(stage, self.scenario, at), ""
            with stage.process(eye) as process:
                try:
                    self.scenario.command(process)
                except DeployError as error:
                    said = type(error).__name__
                eye.promises.given_back()
            if at and said != LockLost.__name__:
                raise Broken(f"it said {said or 'nothing'}")
            if at and books(stage) != eye.books:
                raise Broken("it wrote into the store")
        return eye
