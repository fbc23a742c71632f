"""The runtimes under test, each with what the suite needs around it: images, releases, addresses, and a clean end."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import socket
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import requests
from docker.types import ServiceMode

from deployer.core.clock import SystemClock
from deployer.drivers.ports import Image, RuntimeCare
from deployer.drivers.runtime.docker import DockerRuntime
from deployer.drivers.runtime.incus import IncusRuntime
from deployer.drivers.runtime.incus.api import Incus
from deployer.drivers.runtime.process import ProcessRuntime
from deployer.drivers.runtime.swarm import SwarmRuntime
from deployer.drivers.runtime.swarm.runtime import SwarmOwner
from deployer.manifest.models import Manifest
from deployer.model import Instance, InstanceSpec, Release, SecretText
from tests import incus, swarm
from tests.lab import guest, image
from tests.ports import free_port
from tests.waiting import within

_numbers = itertools.count(1)


def free_address() -> str:
    return f"127.0.0.1:{free_port()}"


def silent(kind: str, **data: Any) -> None:
    """Take the place of the engine's `tell`."""


def get(instance: Instance, path: str, timeout: float = 30.0) -> requests.Response:
    return requests.get(f"http://{instance.address}{path}", timeout=timeout, headers={"Connection": "close"})


def answers(instance: Instance, path: str = "/version", timeout: float = 5.0) -> bool:
    try:
        return get(instance, path, timeout).ok
    except requests.RequestException:
        return False


def wait_until_it_answers(instance: Instance) -> None:
    within().until(lambda: answers(instance), f"{instance.name} answers on {instance.address}")


class Bench(ABC):
    """One runtime and a service of its own."""

    kind: str
    text = 'h\u00e9 "there"\n'  # that a variable may have

    def __init__(self) -> None:
        self.service = f"t{os.getpid()}x{next(_numbers)}"
        self.runtime: RuntimeCare = self.another("first")

    @abstractmethod
    def another(self, installation: str) -> RuntimeCare:
        """Return a runtime as another state folder on this host would have it."""

    @abstractmethod
    def reference(self, version: str) -> str:
        """Make the test app with this version; return the image reference."""

    @abstractmethod
    def program(self) -> tuple[str, ...]:
        """Return the command that runs the test app inside an instance."""

    @abstractmethod
    def close(self) -> None:
        """Remove everything that this bench made."""

    def manifest(self, version: str, **settings: Any) -> Manifest:
        base = {"service": self.service, "image": self.reference(version), "port": 8080, "runtime": self.kind}
        return Manifest.model_validate(base | settings)

    def release(self, number: int = 1, version: str = "1.0", config: str = "", **settings: Any) -> Release:
        """Make a release of the test app; it is resolved as a real one is."""
        manifest = self.manifest(version, **settings)
        resolved: Image = self.runtime.resolve(manifest, manifest.image, within(), silent)
        return Release(
            service=self.service,
            number=number,
            version=version,
            image=manifest.image,
            image_id=resolved.id,
            manifest=manifest,
            config_hash=config or f"config-{number}",
        )

    def spec(self, release: Release, index: int = 1, **secrets: str) -> InstanceSpec:
        values = {name: SecretText(value) for name, value in secrets.items()}
        return InstanceSpec(release, "blue", index, rollout=7, address=self.own_address(), secrets=values)

    def own_address(self) -> str:
        """Return an address that is free for an instance."""
        return free_address()

    def reached(self, spec: InstanceSpec, _made: Instance) -> str:
        """Return where an instance must be that was made: where it was asked for, if others do not say it."""
        return spec.address

    @contextmanager
    def occupied(self, spec: InstanceSpec) -> Iterator[None]:
        """Let another program listen where an instance is to stand."""
        host, _, port = spec.address.partition(":")
        with socket.create_server((host, int(port))):
            yield

    def start(self, **settings: Any) -> Instance:
        """Run one instance and wait until it answers."""
        instance = self.runtime.ensure(self.spec(self.release(**settings)), within())
        wait_until_it_answers(instance)
        return instance

    @contextmanager
    def copied(self, instance: Instance) -> Iterator[tuple[str, ...]]:
        """Let somebody make copies of an instance; yield their names."""
        raise NotImplementedError

    def remove_all(self, runtime: RuntimeCare) -> None:
        for instance in runtime.instances(self.service):
            runtime.remove(instance, 0, within())


class DockerBench(Bench):
    kind = "docker"

    def __init__(self, engine: docker.DockerClient) -> None:
        self.engine = engine
        super().__init__()

    def another(self, installation: str) -> RuntimeCare:
        return DockerRuntime(SystemClock(), f"/state/{self.service}/{installation}")

    def reference(self, version: str) -> str:
        image.build(f"{self.service}:{version}", version=version, client=self.engine)
        return f"{self.service}:{version}"

    def program(self) -> tuple[str, ...]:
        return image.base()[1]

    @contextmanager
    def copied(self, instance: Instance) -> Iterator[tuple[str, ...]]:
        engine, names = self.client_of(instance), (f"{self.service}-debug", f"{self.service}-odd")
        found = engine.containers.get(instance.runtime_id)
        tagged = str(found.commit(repository=self.service, tag="debug").id)
        odd = {**found.labels, "deployer.release": "seven"}
        made = [
            engine.containers.run(tagged, name=names[0], detach=True),
            engine.containers.create(tagged, name=names[1], labels=odd),
        ]
        try:
            yield names
        finally:
            for container in made:
                container.remove(force=True, v=True)
            image.remove(tagged, engine)

    def client_of(self, _instance: Instance) -> docker.DockerClient:
        """Return the engine on which an instance runs."""
        return self.engine

    def close(self) -> None:
        label: dict[str, str | list[str] | bool] = {"label": f"deployer.service={self.service}"}
        for container in self.engine.containers.list(all=True, filters=label, ignore_removed=True):
            container.remove(force=True, v=True)
        for identity, names in image.named(self.engine).items():
            if any(self.service in name for name in names):
                image.remove(identity, self.engine)


class IncusBench(Bench):
    kind = "incus"
    text = 'h\u00e9 "there"'  # Incus takes no line breaks

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        super().__init__()

    def another(self, installation: str) -> RuntimeCare:
        clock = SystemClock()
        return IncusRuntime(clock, f"/state/{self.service}/{installation}", incus=Incus(clock, self.environ))

    def reference(self, version: str) -> str:
        alias = f"{self.service}/{version}"
        incus.build(self.environ, alias, version)
        return alias

    def program(self) -> tuple[str, ...]:
        return ("/app",)

    @contextmanager
    def copied(self, instance: Instance) -> Iterator[tuple[str, ...]]:
        names = (f"{self.service}-debug", f"{self.service}-r99-1")
        for name in names:
            incus.command(self.environ, "copy", instance.name, name)
        try:
            yield names
        finally:
            for name in names:
                incus.command(self.environ, "delete", name)

    def close(self) -> None:
        for name in incus.command(self.environ, "list", "-f", "csv", "-c", "n", self.service).split():
            incus.command(self.environ, "delete", "--force", name)


class IncusMachineBench(IncusBench):
    """Virtual machines: each has an address of its own, and the test app finds its version in its variables."""

    def reference(self, version: str) -> str:
        alias = f"{self.service}/{version}"
        incus.build_machine(self.environ, alias, guest.made() / "disk")
        return alias

    def manifest(self, version: str, **settings: Any) -> Manifest:
        env = {"VERSION": version, **settings.pop("env", {})}
        return super().manifest(version, **{"env": env, "limits": {"memory": "192MiB"}, **settings})

    def reached(self, spec: InstanceSpec, made: Instance) -> str:
        (seen,) = json.loads(incus.command(self.environ, "list", made.name, "-f", "json"))
        found = [a["address"] for n in seen["state"]["network"].values() for a in n["addresses"]]
        assert made.address.partition(":")[0] in found
        return made.address


class SwarmBench(Bench):
    kind = "swarm"

    def __init__(self, socket: str) -> None:
        self.socket = socket
        super().__init__()

    def own_address(self) -> str:
        return f"{swarm.ADDRESS}:{free_port()}"

    def another(self, installation: str) -> RuntimeCare:
        owner = f"/state/{self.service}/{installation}"
        return SwarmRuntime(SystemClock(), SwarmOwner(owner), [swarm.link(self.socket, owner)])

    def reference(self, version: str) -> str:
        with swarm.client(self.socket) as engine:
            image.build(f"{self.service}:{version}", version=version, client=engine)
        return f"{self.service}:{version}"

    def program(self) -> tuple[str, ...]:
        return image.base()[1]

    @contextmanager
    def copied(self, instance: Instance) -> Iterator[tuple[str, ...]]:
        names = (f"{self.service}-debug", f"{self.service}-r99-1")
        with swarm.client(self.socket) as engine:
            found = engine.services.get(instance.runtime_id)  # type: ignore[no-untyped-call]
            labels = found.attrs["Spec"]["Labels"]
            more = {"labels": labels, "mode": ServiceMode("replicated", 0)}
            reference = self.reference("1.0")
            made = [engine.services.create(reference, name=name, **more) for name in names]  # type: ignore[no-untyped-call]
            try:
                yield names
            finally:
                for service in made:
                    service.remove()

    def close(self) -> None:
        with swarm.client(self.socket) as engine:
            for service in engine.services.list(filters={"label": f"deployer.service={self.service}"}):
                service.remove()  # type: ignore[no-untyped-call]
            for secret in engine.secrets.list():
                secret.remove()


class ProcessBench(Bench):
    kind = "process"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: list[RuntimeCare] = []
        super().__init__()

    def another(self, installation: str) -> RuntimeCare:
        self.made.append(ProcessRuntime(self.folder / installation, SystemClock(), installation))
        return self.made[-1]

    def reference(self, version: str) -> str:
        place = self.folder / "source" / version
        image.directory(place, "c" if image.binary() else "python")
        (place / "version.txt").write_text(version)
        return str(place)

    def manifest(self, version: str, **settings: Any) -> Manifest:
        env = {"VERSION": version, **settings.pop("env", {})}
        return super().manifest(version, **{"command": self.program(), "env": env, **settings})

    def program(self) -> tuple[str, ...]:
        return image.directory(self.folder / "source" / "program", "c" if image.binary() else "python")

    @contextmanager
    def copied(self, instance: Instance) -> Iterator[tuple[str, ...]]:
        folder = self.folder / "first" / "processes" / instance.runtime_id
        shutil.copytree(folder, folder.with_name("debug"))
        yield ("debug",)

    def close(self) -> None:
        for runtime in self.made:
            self.remove_all(runtime)
        shutil.rmtree(self.folder, ignore_errors=True)
