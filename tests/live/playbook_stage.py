"""A folder with playbooks, and what is told while they run."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deployer.core.clock import Deadline, SystemClock
from deployer.core.resources import builtin
from deployer.drivers.hosts import AnsiblePlaybooks
from deployer.manifest.models import Manifest
from deployer.model import Environment, Instance, Release
from tests.services import require

CLOCK = SystemClock()
MANIFEST = Manifest.model_validate({"service": "shop", "image": "shop", "port": 8080})
RELEASE = Release("shop", 42, "2.0", "shop:2.0", "sha256:abc", MANIFEST, "hash")


def environment(*addresses: str) -> Environment:
    instances = tuple(
        Instance("shop", "green", 42, n, f"shop-r42-{n}", f"id{n}", address, "running")
        for n, address in enumerate(addresses, 1)
    )
    return Environment("shop", "green", 42, instances)


TWIN = environment("127.0.0.1:21001", "127.0.0.1:21002")


@dataclass
class Stage:
    """A manifest folder with playbooks, and what was told."""

    folder: Path
    told: list[dict[str, Any]] = field(default_factory=list)

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))

    def tell(self, kind: str, **data: Any) -> None:
        assert kind == "task"
        self.told.append(data)

    def play(
        self,
        *names: str,
        twin: Environment | None = TWIN,
        release: Release = RELEASE,
        seconds: float = 180,
        deadline: Deadline | None = None,
        tell: Callable[..., None] | None = None,
        **extra: str,
    ) -> None:
        driver = AnsiblePlaybooks(self.folder, builtin("playbooks"), None, CLOCK)
        driver.play(release, twin, names, extra, deadline or Deadline.after(CLOCK, seconds), tell or self.tell)

    def ends(self) -> list[tuple[str, str, str]]:
        return [(t["task"], t["host"], t["status"]) for t in self.told]


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """Yield a stage whose private folders are counted: none may be left."""
    require("ansible")
    memory = tmp_path / "m"
    memory.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", "")
    monkeypatch.setattr("deployer.core.short_folder._base", lambda _longest: str(memory))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")  # without the virtual environment
    stage = Stage(tmp_path / "project")
    stage.folder.mkdir()
    yield stage
    assert list(memory.iterdir()) == []
