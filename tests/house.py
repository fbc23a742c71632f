"""A house on memory drivers, for tests of the engine and of operations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deployer.events import Event
from deployer.manifest.load import Loaded
from deployer.manifest.models import Manifest
from deployer.operations import House, Request
from deployer.store import Store
from deployer.store.vault import Vault
from tests.memory import World


def manifest(**more: Any) -> Manifest:
    base: dict[str, Any] = {"service": "shop", "image": "shop:1.0", "port": 8080, "replicas": 2}
    return Manifest.model_validate({**base, "judge": {"requests": 5}, **more})


def house(folder: Path, world: World, events: list[Event] | None = None) -> House:
    store = Store(folder, world.clock)
    sink = events.append if events is not None else (lambda _event: None)
    ports = range(21000, 21100)
    return House(store, Vault(folder / "secrets"), world.clock, lambda _m, _f: world.drivers(), ports, sink)


def request(version: str, strategy: str = "canary", folder: Path = Path("/nonexistent"), **more: Any) -> Request:
    options = more.pop("options", {})
    described = manifest(**more.pop("manifest", {}))
    loaded = Loaded(manifest=described, folder=folder, files=(), destination="")
    return Request(loaded, strategy, options, version=version, **more)
