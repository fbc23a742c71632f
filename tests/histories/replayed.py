"""The recorded history, opened by the present code: its store in a folder, its world in memory."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from deployer.app.operations import AppContext
from deployer.model import Instance, Live, Server
from tests.house import house
from tests.memory import FakeClock, World

HISTORY = Path(__file__).parent / "recorded"
LATER = 60.0  # seconds after the recording at which somebody looks at what is left


def told() -> list[Any]:
    """Return what the version that recorded it told of each rollout."""
    rollouts: list[Any] = json.loads((HISTORY / "told.json").read_text())
    return rollouts


def restore(folder: Path) -> None:
    """Make the state folder as it was."""
    with closing(sqlite3.connect(folder / "deployer.db")) as db:
        db.execute("pragma journal_mode = wal")
        db.executescript((HISTORY / "store.sql").read_text())
    for name in ("secrets", "recordings"):
        shutil.copytree(HISTORY / name, folder / name)


def world_of(at: float) -> World:
    """Make the world that stood when it was recorded."""
    world = World(clock=FakeClock(at))
    for service, seen in json.loads((HISTORY / "world.json").read_text()).items():
        for data in seen["instances"]:
            world.instances[data["name"]] = Instance(**data)
        for place, servers in seen["servers"].items():
            world.servers[service, place] = {data["name"]: Server(**data) for data in servers}
        if seen["live"]:
            world.live[service] = Live(**seen["live"])
    return world


def opened(folder: Path) -> tuple[AppContext, World]:
    """Open the history with the present code, which brings its store to the present schema."""
    restore(folder)
    with closing(sqlite3.connect(folder / "deployer.db")) as db:
        at = float(db.execute("select max(at) from events").fetchone()[0])
    world = world_of(at + LATER)
    made = house(folder, world)
    world.versions = {r.number: r.version for s in made.store.services.all() for r in made.store.releases.of(s.name)}
    return made, world
