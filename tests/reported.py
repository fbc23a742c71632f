"""Rollouts on memory drivers with users whose answers vary, for tests of what is told afterwards."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from deployer.app import operations
from deployer.app.operations import AppContext
from deployer.engine import RolloutResult
from deployer.model import FULL, INITIAL, Coins, Counts, Sample, latency_bucket
from tests.flow import Flow
from tests.house import house, request
from tests.memory import PaperPulse, World

REPOSITORY = Path(__file__).parents[1]


class Users:
    """Draws what both sides answer; the candidate fails `bad` of its requests and is `slow` times as slow."""

    def __init__(self, seed: int, *, usual: float = 0.002, bad: float = 0.0, slow: float = 1.0, spared: float = 0.0):
        self._draw = random.Random(seed)
        self.usual, self.bad, self.slow, self.spared = usual, bad, slow, spared

    def answer(self, flow: Flow, seconds: float) -> None:
        """Answer the requests of a moment, in place of `Flow._answer`."""
        live = flow.world.live.get(flow.service, INITIAL)
        share, total = flow.share(live), round(seconds * flow.world.rate)
        mine = sum(self._draw.random() < share / FULL for _ in range(total))
        candidate = self._side(mine, self.usual + self.bad, self.slow)
        stable = self._side(total - mine, self.usual, 1.0)
        shielded = sum(self._draw.random() < self.spared for _ in range(candidate.errors))
        flow.spent[live.rollout] = flow.spent.get(live.rollout, 0) + candidate.errors - shielded
        coins = (Coins(share / FULL, stable, candidate, (stable.errors, candidate.errors)),) if share else ()
        for stream in flow.streams:
            stream.waiting += Sample(stable, candidate, share, coins=coins, shielded=shielded)

    def _side(self, requests: int, rate: float, slow: float) -> Counts:
        errors = sum(self._draw.random() < rate for _ in range(requests))
        latency = [0] * 900
        for _ in range(requests - errors):
            latency[latency_bucket(self._draw.lognormvariate(3.4, 0.5) * slow)] += 1
        while latency and not latency[-1]:
            latency.pop()
        return Counts(requests, errors, tuple(latency))


@contextmanager
def rollout(
    state: Path, users: Users, *, rate: float = 200.0, **more: Any
) -> Iterator[tuple[AppContext, RolloutResult]]:
    """Yield a house in which 1.0 was deployed, and then 2.0 as a canary among these users."""
    world = World(rate=rate)
    with (
        mock.patch.object(Flow, "_answer", lambda flow, seconds: users.answer(flow, seconds)),
        mock.patch("deployer.engine.walk.LeaseRenewer", PaperPulse),
        house(state, world) as h,
    ):
        operations.deploy(h, request("1.0", "bluegreen", REPOSITORY))
        options = {"for": "20s", **more.pop("options", {})}  # in so many a bad one shows at its first share
        yield h, operations.deploy(h, request("2.0", "canary", REPOSITORY, options=options, **more))
