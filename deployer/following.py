"""Live numbers for somebody who only looks: samples are not stored, so a follower reads its own from the proxy."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from deployer.drivers.ports import Traffic
from deployer.engine.tally import Tally
from deployer.engine.watching import LOOK_SECONDS
from deployer.errors import DeployError
from deployer.events import Event
from deployer.operations import House
from deployer.queries import drivers_of

BUDGET_SECONDS = 1.0  # between two looks at what was spent


class Follower:
    """A thread that sends `sample` events of a service while it is open."""

    def __init__(self, house: House, service: str, rollout: int) -> None:
        self._house, self._service, self._rollout = house, service, rollout
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="follower", daemon=True)

    def _loop(self) -> None:
        try:
            self._sample()
        except DeployError as error:
            self._send("note", {"text": f"no live numbers: {error.message}"})

    def _sample(self) -> None:
        traffic, tally = drivers_of(self._house, self._service).traffic, Tally()
        budget: dict[str, int] = {}
        next_budget = 0.0
        with traffic.samples(self._service) as samples:
            while not self._end.wait(LOOK_SECONDS):
                sample, now = samples.take(), self._house.clock.monotonic()
                tally.add(sample)
                if now >= next_budget:
                    budget, next_budget = self._budget(traffic), now + BUDGET_SECONDS
                if sample.share:
                    self._send("sample", {**tally.event(sample.share), **budget})

    def _budget(self, traffic: Traffic) -> dict[str, int]:
        live = traffic.read(self._service)
        if live is None or not live.budget:
            return {}
        return {"spent": traffic.spent(self._service), "budget": live.budget}

    def _send(self, kind: str, data: dict[str, object]) -> None:
        self._house.sink(Event(kind, self._house.clock.now(), self._service, self._rollout, dict(data)))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join(timeout=5)
