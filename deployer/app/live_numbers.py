"""Live numbers for somebody who only looks: samples are not stored, so those of the process that drives are read."""

from __future__ import annotations

import threading

from deployer.app.operations import AppContext
from deployer.core.background import BackgroundThread
from deployer.core.events import Event
from deployer.engine.observation import LOOK_SECONDS
from deployer.evidence import live_sample


class LiveFollower(BackgroundThread):
    """A thread that sends the `sample` events of a rollout that another process drives, while it is open."""

    def __init__(self, house: AppContext, service: str, rollout: int) -> None:
        self._house, self._service, self._rollout = house, service, rollout
        super().__init__("follower", self._follow, patience=5)

    def _follow(self, over: threading.Event) -> None:
        file, before = live_sample.file_of(self._house.store.folder, self._rollout), 0.0
        try:
            while not over.wait(LOOK_SECONDS):
                sample = live_sample.read(file)
                if sample and (at := float(sample.pop("at"))) > before:
                    before = at
                    self._house.sink(Event("sample", at, self._service, self._rollout, sample))
        except (OSError, ValueError) as error:
            text = f"no live numbers: {file} cannot be read: {error}"
            self._house.sink(Event("note", self._house.clock.now(), self._service, self._rollout, {"text": text}))
