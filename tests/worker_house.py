"""A house for a service without a port: memory runtime and clock, with the traffic layer that such a service has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from deployer.app import operations
from deployer.app.operations import AppContext, DeployRequest, RolloutResult
from deployer.core.events import Event
from deployer.drivers.ports import Drivers
from deployer.drivers.traffic.proxyless import ProxylessTraffic
from deployer.manifest.load import Loaded
from deployer.manifest.models import Manifest
from deployer.store import Store
from tests.house import house
from tests.memory import World


def manifest(**more: Any) -> Manifest:
    return Manifest.model_validate({"service": "queue", "image": "queue:1.0", "stop": {"grace": "30m"}, **more})


class WorkerScene:
    """A worker, its world, and all that happened in it."""

    def __init__(self, folder: Path, world: World | None = None, store: Store | None = None) -> None:
        self.folder, self.world = folder, world or World()
        self.events: list[Event] = []
        self.house: AppContext = house(folder, self.world, self.events, store)
        plain = self.house.wire

        def wire(*given: Any) -> Drivers:
            drivers = plain(*given)
            layer = ProxylessTraffic(folder, drivers.runtime)
            return replace(drivers, traffic=layer, inspection=layer.inspection, upkeep=layer.upkeep, certificates=None)

        self.house.wire = wire

    def request(self, version: str, strategy: str, options: dict[str, Any], **more: Any) -> DeployRequest:
        loaded = Loaded(manifest=manifest(**more), folder=self.folder, files=(), destination="")
        return DeployRequest(loaded, strategy, options, version=version)

    def deploy(self, version: str, strategy: str = "canary", **more: Any) -> RolloutResult:
        return operations.deploy(self.house, self.request(version, strategy, more.pop("options", {}), **more))

    @property
    def running(self) -> list[str]:
        """Versions of what runs."""
        there = self.world.instances.values()
        return sorted(self.world.versions[i.release] for i in there if i.state == "running")

    def told(self, kind: str) -> list[dict[str, Any]]:
        """The data of all events of a kind."""
        return [e.data for e in self.events if e.kind == kind]
