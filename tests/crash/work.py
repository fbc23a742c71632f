"""The suite's work in pieces that processes share: one scenario killed everywhere, or with its drivers disturbed.

In CI kills are tried at every instant, double ones and disturbances as drawn from a fixed seed; `whole` tries all.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

from deployer.errors import DeployError
from tests.crash.explore import MUCH, Explorer, Found
from tests.crash.overtaken import Takeovers
from tests.crash.planted import BUGS, LEASED, TALKS, Bug
from tests.crash.promises import Broken
from tests.crash.scenarios import SCENARIOS, Scenario
from tests.crash.stage import on_paper
from tests.crash.trials import Trials

SEED = 20_240_229
PAIRS = 15  # double deaths of a scenario in CI
FAULTS = 50  # disturbances of a scenario in CI
TAKEOVERS = 12  # moments at which a scenario loses its lock in CI
EVERY = 7  # instants of which one is answered with `--replace` in CI
BY_NAME = {scenario.name: scenario for scenario in (*SCENARIOS, LEASED, TALKS)}


def kill(scenario: Scenario, *, whole: bool = False, seed: int = SEED, much: int = MUCH) -> Found:
    """Kill a scenario at every instant, and again while it is resumed."""
    with on_paper():
        explorer = Explorer(scenario, much)
        explorer.once(1 if whole else EVERY)
        return explorer.twice(None if whole else PAIRS, seed)


def disturb(scenario: Scenario, *, whole: bool = False, seed: int = SEED, much: int = MUCH) -> Found:
    """Disturb every call of a scenario's drivers, or so many of them."""
    with on_paper():
        trials = Trials(scenario, much)
        faults = list(trials.faults())
        if not whole:
            faults = random.Random(f"{seed} {scenario.name}").sample(faults, min(FAULTS, len(faults)))
        for fault in faults:
            if trials.enough:
                break
            trials.disturb(fault)
        return trials.found


def overtake(scenario: Scenario, *, whole: bool = False, seed: int = SEED, much: int = MUCH) -> Found:
    """Take the lock away from a scenario between two of its events, or between so many of them."""
    with on_paper():
        takeovers = Takeovers(scenario, much)
        takeovers.all(None if whole else TAKEOVERS, seed)
        return takeovers.found


KINDS = {"killed": kill, "disturbed": disturb, "overtaken": overtake}


def find(bug: Bug, *, seed: int = SEED) -> Found:
    """Look at a scenario with a bug in the code, until it is found."""
    with bug.planted():
        try:
            return KINDS[bug.how](bug.where, seed=seed, much=1)
        except (Broken, DeployError) as trouble:
            return Found(bug.where.name, wrong=[f"{type(trouble).__name__}: {trouble}"])


def work(kind: str, name: str, whole: bool, seed: int) -> Found:
    """Do one piece of the work by its names, in whichever process."""
    if kind == "planted":
        return find(next(bug for bug in BUGS if bug.name == name), seed=seed)
    return KINDS[kind](BY_NAME[name], whole=whole, seed=seed)


@contextmanager
def shared(
    pieces: Iterable[tuple[str, str]], *, whole: bool = False, seed: int = SEED
) -> Iterator[dict[tuple[str, str], Future[Found]]]:
    """Begin pieces of work (kind, name of the scenario) in as many processes as there are processors."""
    with ProcessPoolExecutor(max_workers=os.cpu_count(), mp_context=get_context("spawn")) as pool:
        futures = {piece: pool.submit(work, *piece, whole, seed) for piece in pieces}
        try:
            yield futures
        finally:
            for future in futures.values():
                future.cancel()
