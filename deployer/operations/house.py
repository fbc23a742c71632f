"""The state folder with everything needed to act on it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from deployer.clock import Clock
from deployer.drivers.ports import Drivers
from deployer.events import Event, Sink
from deployer.manifest.models import Manifest
from deployer.store import Store
from deployer.store.vault import Vault


@dataclass
class House:
    """The state folder with everything needed to act on it."""

    store: Store
    vault: Vault
    clock: Clock
    wire: Callable[[Manifest, Path], Drivers]
    ports: Sequence[int]
    sink: Sink = lambda _event: None
    stop_asked: threading.Event = field(default_factory=threading.Event)
    detach: bool = False  # what `stop_asked` means: leave a rollout where it is, instead of taking it back

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.store.database.close()

    def anywhere(self) -> dict[str, Drivers]:
        """Give the drivers of each kind of runtime, with our own proxy: for questions that are about no manifest."""
        return {kind: self.wire(_bare(kind), Path()) for kind in ("process", "docker")}

    def tell(self, service: str, text: str) -> None:
        """Send a note that belongs to no rollout yet."""
        self.sink(Event("note", self.clock.now(), service, 0, {"text": text}))


def _bare(kind: str) -> Manifest:
    return Manifest.model_validate({"service": "any", "image": "any", "port": 1, "runtime": kind, "command": ["any"]})
