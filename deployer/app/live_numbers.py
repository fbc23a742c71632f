"""Live numbers for somebody who only looks: samples are not stored, so those of the process that drives are read."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from deployer.app.operations import AppContext
from deployer.core.events import Event
from deployer.engine.observation import LOOK_SECONDS
from deployer.evidence import live_sample


class LiveFollower:
    """A thread that sends the `sample` events of a rollout that another process drives, while it is open."""

    def __init__(self, house: AppContext, service: str, rollout: int) -> None:
        self._house, self._service, self._rollout = house, service, rollout
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="follower", daemon=True)

    def _loop(self) -> None:
        file, before = live_sample.file_of(self._house.store.folder, self._rollout), 0.0
        try:
            while not self._end.wait(LOOK_SECONDS):
                sample = live_sample.read(file)
                if sample and (at := float(sample.pop("at"))) > before:
                    before = at
                    self._house.sink(Event("sample", at, self._service, self._rollout, sample))
        except (OSError, ValueError) as error:
            text = f"no live numbers: {file} cannot be read: {error}"
            self._house.sink(Event("note", self._house.clock.now(), self._service, self._rollout, {"text": text}))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join(timeout=5)
