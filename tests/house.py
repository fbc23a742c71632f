"""A house on memory drivers, for tests of the engine and of operations."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from deployer.app import operations
from deployer.app.operations import AppContext, DeployRequest, RolloutResult, Survey
from deployer.app.operations.execution import locked
from deployer.core.events import Event
from deployer.core.host import ServiceHosts
from deployer.drivers.certificates import CertificateKeeper
from deployer.drivers.ports import Drivers
from deployer.manifest.load import Loaded
from deployer.manifest.models import Manifest
from deployer.model import Live
from deployer.planning import release_record
from deployer.store import Store
from deployer.store.rebuild import rebuilding
from deployer.store.vault import Vault
from tests.memory import World

REPOSITORY = Path(__file__).parents[1]


def manifest(**more: Any) -> Manifest:
    base: dict[str, Any] = {"service": "shop", "image": "shop:1.0", "port": 8080, "replicas": 2}
    # Steps of fixed time, unless a test is about the others: what it watches does not hang on how much is enough.
    fixed = {"strategy": {"canary": {"for": "10s", "bake": "5s"}}, "judge": {"requests": 5}}
    return Manifest.model_validate({**base, **fixed, **more})


def house(folder: Path, world: World, events: list[Event] | None = None, store: Store | None = None) -> AppContext:
    store = store or Store(folder, world.clock)
    sink = events.append if events is not None else (lambda _event: None)
    ports = range(21000, 21100)

    def wire(_manifest: Manifest, _folder: Path, _hosts: ServiceHosts) -> Drivers:
        return world.drivers(store.secret("installation"), release_record.home(folder))

    certificates = CertificateKeeper(folder, world.clock)
    return AppContext(store, Vault(folder / "secrets"), world.clock, wire, ports, world.notifier, certificates, sink)


def owed(folder: Path) -> list[int]:
    """Return the rollouts whose ending is still to be told, as the store in a state folder has them."""
    with closing(sqlite3.connect(folder / "deployer.db")) as db:
        return [number for (number,) in db.execute("select rollout from owed_notices order by rollout")]


def request(version: str, strategy: str = "canary", folder: Path = Path("/nonexistent"), **more: Any) -> DeployRequest:
    options = more.pop("options", {})
    described = manifest(**more.pop("manifest", {}))
    loaded = Loaded(manifest=described, folder=folder, files=(), destination="")
    return DeployRequest(loaded, strategy, options, version=version, **more)


def lose(opened: AppContext) -> None:
    """Lose the store of a house, and nothing else of its folder."""
    opened.store.database.close()
    for file in opened.store.folder.glob("deployer.db*"):
        file.unlink()


def adopt(folder: Path, world: World, events: list[Event] | None = None, **chosen: Any) -> tuple[AppContext, Survey]:
    """Do what `deploy adopt --yes` does; return the house with its store, and what was found."""
    with rebuilding(folder, world.clock) as made, house(folder, world, events, made.store) as opened:
        found = operations.survey(opened, why=made.why, **chosen)
        operations.adopt(opened, found)
        made.put_in_place()
    return house(folder, world, events), found


class Scene:
    """A house, its world, and all that happened in it."""

    def __init__(self, folder: Path, world: World | None = None, store: Store | None = None) -> None:
        self.events: list[Event] = []
        self.world = world or World()
        self.house: AppContext = house(folder, self.world, self.events, store)

    def deploy(self, version: str, strategy: str = "bluegreen", **more: Any) -> RolloutResult:
        return operations.deploy(self.house, request(version, strategy, REPOSITORY, **more))

    def port(self, release: int, index: int) -> int:
        """Have the port of an instance handed out."""
        with locked(self.house, "shop", "test") as lock:
            return self.house.store.ports.assign(lock, release, index, self.house.ports, lambda _port: True).number

    @property
    def live(self) -> Live:
        return self.world.live["shop"]

    def versions(self, place: str) -> list[str]:
        return [self.world.versions[i.release] for i in self.world.instances.values() if i.colour == place]

    def kinds(self) -> list[str]:
        return [e.kind for e in self.events]

    def told(self, kind: str) -> list[dict[str, Any]]:
        """The data of all events of a kind."""
        return [e.data for e in self.events if e.kind == kind]
