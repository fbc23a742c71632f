"""The suite's work in pieces that processes share: one scenario killed everywhere, or with its drivers disturbed.

How much is tried: `WHOLE` is all there is; `FULL` kills at every instant, and draws double deaths and disturbances;
`CHANGE` draws the instants, too. What is drawn comes from a fixed seed, or from the one that was given.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context

from deployer.core.errors import DeployError
from tests import tiers
from tests.crash.explore import MUCH, Explorer, Found
from tests.crash.overtaken import Takeovers
from tests.crash.planted import BUGS, LEASED, TALKS, Bug
from tests.crash.promises import Broken
from tests.crash.scenarios import SCENARIOS, Scenario
from tests.crash.stage import on_paper
from tests.crash.trials import Trials

SEED = 20_240_229  # of the planted bugs, which have to be found, and of everything else unless another one is given
CHOSEN = tiers.SEED or SEED


@dataclass(frozen=True)
class Draws:
    """How much of a scenario is tried; None for all."""

    stride: int = 1  # instants of which one is died at
    every: int = 1  # of those, how many of which one is answered with `--replace`
    pairs: int | None = None  # double deaths
    faults: int | None = None  # disturbances
    takeovers: int | None = None  # moments at which it loses its lock


WHOLE = Draws()
FULL = Draws(every=7, pairs=15, faults=50, takeovers=12)
CHANGE = Draws(stride=8, every=3, pairs=3, faults=6, takeovers=4)
TRIED = FULL if tiers.FULL else CHANGE
BY_NAME = {scenario.name: scenario for scenario in (*SCENARIOS, LEASED, TALKS)}


def kill(scenario: Scenario, draws: Draws, *, seed: int, much: int = MUCH) -> Found:
    """Kill a scenario at its instants, and again while it is resumed."""
    with on_paper():
        explorer = Explorer(scenario, much)
        explorer.once(draws.every, draws.stride, seed)
        return explorer.twice(draws.pairs, seed)


def disturb(scenario: Scenario, draws: Draws, *, seed: int, much: int = MUCH) -> Found:
    """Disturb every call of a scenario's drivers, or so many of them."""
    with on_paper():
        trials = Trials(scenario, much)
        faults = list(trials.faults())
        if draws.faults is not None:
            faults = random.Random(f"{seed} {scenario.name}").sample(faults, min(draws.faults, len(faults)))
        for fault in faults:
            if trials.enough:
                break
            trials.disturb(fault)
        return trials.found


def overtake(scenario: Scenario, draws: Draws, *, seed: int, much: int = MUCH) -> Found:
    """Take the lock away from a scenario between two of its events, or between so many of them."""
    with on_paper():
        takeovers = Takeovers(scenario, much)
        takeovers.all(draws.takeovers, seed)
        return takeovers.found


KINDS = {"killed": kill, "disturbed": disturb, "overtaken": overtake}


def find(bug: Bug) -> Found:
    """Look at a scenario with a bug in the code, until it is found: with each fault, as few may show it."""
    with bug.planted():
        try:
            return KINDS[bug.how](bug.where, replace(FULL, faults=None), seed=SEED, much=1)
        except (Broken, DeployError) as trouble:
            return Found(bug.where.name, wrong=[f"{type(trouble).__name__}: {trouble}"])


def work(kind: str, name: str, draws: Draws, seed: int) -> Found:
    """Do one piece of the work by its names, in whichever process."""
    if kind == "planted":
        return find(next(bug for bug in BUGS if bug.name == name))
    return KINDS[kind](BY_NAME[name], draws, seed=seed)


@contextmanager
def shared(
    pieces: Iterable[tuple[str, str]], draws: Draws = TRIED, seed: int = CHOSEN
) -> Iterator[dict[tuple[str, str], Future[Found]]]:
    """Begin pieces of work (kind, name of the scenario) in as many processes as there are processors."""
    with ProcessPoolExecutor(max_workers=os.cpu_count(), mp_context=get_context("spawn")) as pool:
        futures = {piece: pool.submit(work, *piece, draws, seed) for piece in pieces}
        try:
            yield futures
        finally:
            for future in futures.values():
                future.cancel()
