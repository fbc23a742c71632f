"""The requests of a service in a world in memory: what users send, what each side answers, what a proxy counts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from deployer.model import FULL, INITIAL, Coins, Counts, Live, Sample, latency_bucket

if TYPE_CHECKING:
    from tests.memory import World

LATENCY_MS = 20.0  # of every good answer
MOMENT = 0.25  # seconds of requests that are answered at once


class Flow:
    """The requests of a service as its users send them: evenly, and to the sides that the live value names.

    Each request is thrown by a coin of its own; where clients are sticky, each is the only one of its client.
    """

    def __init__(self, world: World, service: str) -> None:
        self.world, self.service, self.at = world, service, world.clock.monotonic()
        self.owed: dict[str, float] = {}  # parts of requests and of errors that did not make a whole one yet
        self.spent: dict[int, int] = {}  # failed responses that users saw, by rollout
        self.sticky = True
        self.streams: list[MemorySamples] = []

    def copy(self, world: World) -> Flow:
        """The same requests in a copy of their world; nobody reads them."""
        made = Flow(world, self.service)
        made.at, made.sticky = self.at, self.sticky
        made.owed, made.spent = dict(self.owed), dict(self.spent)
        return made

    def share(self, live: Live) -> int:
        """The share in force, with the lease and the budget as a proxy enforces them."""
        over = live.lease and live.lease <= self.at + self.world.clock.ahead
        dry = live.budget and self.spent.get(live.rollout, 0) >= live.budget
        return 0 if over or dry else live.share

    def advance(self) -> None:
        """Answer everything up to now, a moment at a time, so that a limit holds where it is reached."""
        now = self.world.clock.monotonic()
        while self.at < now:
            moment = min(MOMENT, now - self.at)
            self._answer(moment)
            self.at = self.at + moment if self.at + moment < now else now

    def _answer(self, seconds: float) -> None:
        live = self.world.live.get(self.service, INITIAL)
        share = self.share(live)
        total = self._part("all", seconds * self.world.rate)
        mine = self._part("candidate", total * share / FULL)
        beside = self._part("baseline", total * live.baseline / FULL if share else 0.0)
        worse = self._part("errors of a worse release", mine * self.world.failing_part(self.service, live, share))
        errors = worse + self._usual("candidate", mine)
        shielded = int(errors * self.world.shield)
        self.spent[live.rollout] = self.spent.get(live.rollout, 0) + errors - shielded
        candidate = _counts(mine, errors)
        rest = _counts(total - mine - beside, self._usual("rest", total - mine - beside))
        stable = _counts(beside, self._usual("baseline", beside)) if live.baseline else rest
        coins = self._coins(live, share, stable, candidate)
        sample = Sample(
            stable,
            candidate,
            share,
            coins=(coins,) if share else (),
            rest=rest if live.baseline else Counts(),
            shielded=shielded,
        )
        for stream in self.streams:
            stream.waiting += sample

    def _part(self, side: str, exact: float) -> int:
        owed = self.owed.get(side, 0.0) + exact
        self.owed[side] = owed - int(owed)
        return int(owed)

    def _usual(self, side: str, requests: int) -> int:
        return self._part(f"errors of {side}", requests * self.world.usual)

    def _coins(self, live: Live, share: int, stable: Counts, candidate: Counts) -> Coins:
        p = share / (share + live.baseline) if live.baseline and share else share / FULL
        first = (stable.errors, candidate.errors) if self.sticky else (0, 0)
        return Coins(p, stable, candidate, first)


def _counts(requests: int, errors: int) -> Counts:
    good = [0] * latency_bucket(LATENCY_MS) + [requests - errors]
    return Counts(requests, errors, tuple(good) if requests else ())


class MemorySamples:
    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.waiting = Sample(Counts(), Counts(), 0)

    def take(self) -> Sample:
        self.flow.advance()
        taken, self.waiting = self.waiting, Sample(Counts(), Counts(), 0)
        live = self.flow.world.live[self.flow.service]
        return replace(taken, share=self.flow.share(live))
