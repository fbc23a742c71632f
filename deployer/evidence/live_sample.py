"""The latest look of the process that drives a rollout, for those who only watch: one small file, replaced as it goes.

Samples are not stored: they come many times a second, and only matter while somebody looks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deployer.core import files
from deployer.core.clock import Clock

EVERY = 0.5  # seconds between two writes


def file_of(state: Path, rollout: int) -> Path:
    """Name the latest look of a rollout in a state folder."""
    return state / "recordings" / f"{rollout}.latest.json"


class Latest:
    """Keeps the newest `sample` of a drive where others find it; after the first error, `broken`, nothing more."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.broken: OSError | None = None
        self._path, self._clock = path, clock
        self._next = 0.0
        self._others = False  # the file is another process's

    def keep(self, sample: Mapping[str, Any]) -> None:
        """Write the fields of a sample, unless the one before was written just now."""
        now = self._clock.monotonic()
        if self.broken or now < self._next:
            return
        self._next = now + EVERY
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            files.replace(self._path, json.dumps({"at": self._clock.now(), **sample}), lasting=False)
        except OSError as error:
            self.broken = error

    def drop(self) -> None:
        """Leave the file as it is: it is another process's by now."""
        self._others = True

    def remove(self) -> None:
        """Leave nothing: there is no latest look any more."""
        if self._others:
            return
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            self.broken = self.broken or error


def read(path: Path) -> dict[str, Any] | None:
    """Return the time (`at`, Unix seconds) and the fields of the latest sample; None when there is none."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    return dict(data)
