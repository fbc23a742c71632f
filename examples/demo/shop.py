"""The shop of the demo: five versions, as images when a Docker engine answers, else as folders."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import docker
import docker.errors
import requests
import yaml

from tests.lab import image
from tests.ports import free_port

VERSIONS = {
    "1.0": "good",
    "2.0": "good",
    "3.0": "exits at once",
    "3.1": "fails 20% of its requests",
}
ENVIRONMENT = {"3.0": {"EXIT": "1"}, "3.1": {"ERR": "0.2"}}
GOODBYE_MS = "3000"  # what running requests and WebSockets get when an instance is told to end


def engine() -> docker.DockerClient | None:
    """Return a client of the Docker engine; None when none answers."""
    with suppress(docker.errors.DockerException, requests.RequestException):
        client = docker.from_env(timeout=10)
        client.ping()
        return client
    return None


@dataclass
class Shop:
    """A service with its manifest and versions in a folder."""

    folder: Path
    client: docker.DockerClient | None
    name: str
    port: int
    faulty: tuple[str, ...] = ("3.1",)

    @classmethod
    @contextmanager
    def made(cls, folder: Path, *, docker: bool) -> Iterator[Self]:
        """Make the versions and the manifest; remove the images at the end."""
        client = engine() if docker else None
        shop = cls(folder, client, f"demo{secrets.token_hex(2)}", free_port())
        images = []
        try:
            for version in VERSIONS:
                settings = {"DRAIN": GOODBYE_MS, **ENVIRONMENT.get(version, {})}
                if client:
                    images.append(image.build(f"{shop.name}:{version}", version=version, env=settings, client=client))
                else:
                    shop._release(version, settings)
            (folder / "deploy.yml").write_text(yaml.safe_dump(shop._manifest(), sort_keys=False))
            yield shop
        finally:
            if client:
                for identity in images:
                    image.remove(identity, client)
                client.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def describe(self) -> str:
        if self.client:
            return "containers of the Docker engine that answers here, behind its own HAProxy"
        return "no Docker engine is used: plain processes, behind a HAProxy of our own"

    def _manifest(self) -> dict[str, object]:
        where: dict[str, object] = (
            {"image": self.name}
            if self.client
            else {
                "image": "releases/{version}",
                "runtime": "process",
                "command": ["sh", "./run"],
            }
        )
        return {
            "service": self.name,
            **where,
            "port": 8080,
            "replicas": 2,
            "health": {"http": "/up"},
            "traffic": {"listen": f"127.0.0.1:{self.port}"},
            "stop": {"drain": "5s", "grace": "5s"},
            "strategy": {"canary": {"steps": [10, 50], "for": "5s", "bake": "3s"}},
        }

    def _release(self, version: str, settings: dict[str, str]) -> None:
        target = self.folder / "releases" / version
        command = image.directory(target)
        exported = " ".join(f"{k}={shlex.quote(v)}" for k, v in {"VERSION": version, **settings}.items())
        (target / "run").write_text(f"{exported} exec {shlex.join(command)}\n")
