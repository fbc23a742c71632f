"""Who answers a load: as many instances as it needs, or a fixed number of them."""

from __future__ import annotations

import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import docker

from bench.elastic.figures import Growth, Used
from bench.peers.contenders import Swarm, answers, until
from deployer.app.local import LocalApp, at
from deployer.core.background import BackgroundThread, every
from deployer.core.clock import SystemClock
from deployer.core.errors import DeployError
from deployer.drivers.traffic.haproxy.parts import Parts
from deployer.manifest.scale import ScaleSettings
from deployer.model import Load
from deployer.planning.steps import Start
from deployer.planning.usage import running
from tests.live.shop import Shop

LOOK_EVERY = 0.05  # seconds, at the queue
BLIND = 0.01  # of the looks may fail
MOST_CHANGES = 10_000
VERSION = "1"


class Way(ABC):
    """Answers at `url` between `begin` and `close`."""

    name = ""

    def __init__(self) -> None:
        self.undo = ExitStack()

    @property
    @abstractmethod
    def url(self) -> str:
        """Return the address that users ask."""

    @abstractmethod
    def begin(self) -> None:
        """Be ready for users."""

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look at it while it has its load."""
        yield

    @abstractmethod
    def used(self, began: float, ended: float) -> Used:
        """Return what it took between two moments, Unix seconds."""

    def close(self) -> None:
        """Take everything down."""
        self.undo.close()


class Elastic(Way):
    """`scale` in the manifest, and a keeper."""

    name = "scale"

    def __init__(self, folder: Path, settings: ScaleSettings, client: docker.DockerClient | None) -> None:
        super().__init__()
        self._shop, self._settings = made(folder, client), settings
        self.undo.callback(self._shop.close)
        self._folder = folder
        self._queue: list[tuple[float, int]] = []
        self._blind = 0  # looks that failed
        self._keeper: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return self._shop.url

    def begin(self) -> None:
        shop = self._shop
        del shop.manifest["replicas"]
        scale = self._settings.model_dump(include={"min", "max", "concurrency"})
        shop.write(scale={**scale, "hold": f"{self._settings.hold:g}s"})
        shop.live(VERSION)
        self._keeper = self.undo.enter_context(self._keeping())
        shop.wait(lambda found: found["keeper"]["runs"], "the keeper works")

    @contextmanager
    def _keeping(self) -> Iterator[subprocess.Popen[bytes]]:
        """Run a keeper, whose log is a file: nobody reads a pipe meanwhile, and a full one would stop it."""
        with (self._folder / "keeper.log").open("wb") as log:
            command = self._shop.command("keep")
            process = subprocess.Popen(command, cwd=self._folder, env=self._shop.environment(), stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.kill()
            process.wait(10)

    @contextmanager
    def watched(self) -> Iterator[None]:
        shop = self._shop
        parts = Parts(shop.state / "proxy", SystemClock(), None, None, shop.state)

        def look() -> None:
            try:
                found = parts.places.load(shop.name, parts.facts(shop.name).places, parts.soon())
            except DeployError:
                self._blind += 1
                return
            self._queue.append((time.time(), sum(found.values(), Load()).waiting))

        with BackgroundThread("queue", every(LOOK_EVERY, look)):
            yield
        if self._keeper is None or self._keeper.poll() is not None:
            raise SystemExit(f"the keeper ended under load:\n{(self._folder / 'keeper.log').read_text()}")
        if self._blind > BLIND * len(self._queue):
            raise SystemExit(f"{self._blind} looks at the queue failed, {len(self._queue)} did not: no figures")

    def used(self, began: float, ended: float) -> Used:
        with LocalApp(at(self._shop.state)) as app:
            store, name = app.context.store, self._shop.name
            sizing = store.journal.sizing(name)
            rollouts = store.rollouts.of(name, MOST_CHANGES, adjustments=True)
        spans = [part for span in running(sizing, (), ended) if (part := span.within(began, ended))]
        changes = [each for each in rollouts if each.strategy == "scale" and began <= each.started_at < ended]
        growths = []
        for each in sorted(changes, key=lambda rollout: rollout.started_at):
            end = each.ended_at or ended
            starts = [s.began for s in sizing if isinstance(s.step, Start) and each.started_at <= s.began <= end]
            if starts:
                growths.append(Growth(each.started_at, min(starts), end))
        return Used(
            sum(span.seconds for span in spans),
            len(changes),
            min(span.instances for span in spans),
            max(span.instances for span in spans),
            tuple(growths),
            tuple(self._queue),
        )


class Fixed(Way):
    """A fixed number of instances behind the same proxy."""

    def __init__(self, folder: Path, instances: int, client: docker.DockerClient | None) -> None:
        super().__init__()
        self.name = f"{instances} instances"
        self._shop, self._instances = made(folder, client), instances
        self.undo.callback(self._shop.close)

    @property
    def url(self) -> str:
        return self._shop.url

    def begin(self) -> None:
        self._shop.write(replicas=self._instances)
        self._shop.live(VERSION)

    def used(self, began: float, ended: float) -> Used:
        return _all_the_time(self._instances, began, ended)


class FixedSwarm(Way):
    """A service of Docker Swarm with a fixed number of tasks; its image is there."""

    def __init__(self, folder: Path, instances: int, client: docker.DockerClient, image: str) -> None:
        super().__init__()
        self.name = f"docker service, {instances} tasks"
        self._swarm, self._instances = Swarm(folder, client, (image,)), instances
        self._swarm.replicas = instances
        self.undo.callback(self._swarm.close)

    @property
    def url(self) -> str:
        return self._swarm.url

    def begin(self) -> None:
        self._swarm.begin()
        self._swarm.settle()
        until(lambda: answers(self.url, VERSION), f"{self.name} answers")

    def used(self, began: float, ended: float) -> Used:
        return _all_the_time(self._instances, began, ended)


def _all_the_time(instances: int, began: float, ended: float) -> Used:
    return Used(instances * (ended - began), 0, instances, instances)


def made(folder: Path, client: docker.DockerClient | None) -> Shop:
    """Make a service in a folder of its own: of processes where there is no engine."""
    folder.mkdir()
    shop = Shop(folder, "docker" if client else "process", client)
    shop.manifest["health"]["deadline"] = "60s"  # of several that start at once on a busy host
    return shop
