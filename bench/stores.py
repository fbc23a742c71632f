"""The store in a file beside the one in PostgreSQL: `python -m bench.stores [SERVICES [WRITES]]`.

On drivers in memory, with the real engine. So many services are deployed with each store, then one of them once more:
milliseconds by the clock, and of processor time of this process. Then a step of the journal is written, each write in a
transaction of its own that lasts through a power cut, with both stores in turn. PostgreSQL is one of this host with its
usual settings, on the same disk, reached by its socket.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

from bench.engine_scale import AT_ONCE, PORTS, RESULTS, Row, deploy
from deployer.app import queries
from deployer.app.status import status_of
from deployer.store import Lock, Store
from deployer.store.postgres.shared import opened
from tests.house import Scene
from tests.memory import PaperPulse, World
from tests.postgres import running

SERVICES, WRITES = 1000, 400
Timed = tuple[float, float]  # milliseconds: by the clock, of processor time


def timed(work: Callable[[], object]) -> Timed:
    """Return what work takes."""
    began, spent = time.perf_counter(), time.process_time()
    work()
    return (time.perf_counter() - began) * 1000, (time.process_time() - spent) * 1000


def engine(made: Scene, count: int) -> dict[str, Timed]:
    """Deploy so many services, and one once more."""

    def deploy_all() -> None:
        for n in range(count):
            deploy(made, "1.0", service=f"s{n}")

    first = timed(deploy_all)
    return {
        "each first deploy": (first[0] / count, first[1] / count),
        "deploy of one": timed(lambda: deploy(made, "2.0", service="s0")),
        "status of one": timed(lambda: status_of(made.house, "s0")),
        "list of all": timed(lambda: queries.services(made.house)),
    }


def begun(made: Scene) -> tuple[Lock, int]:
    """Record a rollout that is in progress; return its lock and its number."""
    store = made.house.store
    service = "journal"
    deploy(made, "1.0", service=service)
    held = {**AT_ONCE, "service": service}
    made.deploy("2.0", "canary", options={"percent": 10, "hold": True}, manifest=held)
    return store.locks.take(service, "bench"), store.rollouts.of(service)[0].number


def journal(scenes: dict[str, Scene], count: int) -> dict[str, Row]:
    """Write steps with each store in turn; return the median and the 99th percentile."""
    targets = {name: (made.house.store, *begun(made)) for name, made in scenes.items()}
    took: dict[str, list[float]] = {name: [] for name in scenes}
    for n in range(count):
        for name, (store, lock, rollout) in targets.items():
            took[name].append(timed(partial(store.journal.began, lock, rollout, "back", 100 + n))[0])
    for store, lock, _ in targets.values():
        store.locks.release(lock)
    return {
        name: {"median": statistics.median(each), "p99": statistics.quantiles(each, n=100)[98]}
        for name, each in took.items()
    }


def main(services: int, writes: int) -> None:
    """Measure and print."""
    with ExitStack() as undo:
        undo.enter_context(patch("deployer.engine.walk.LeaseRenewer", PaperPulse))
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory()))
        address = undo.enter_context(running(durable=True)).schema()
        scenes: dict[str, Scene] = {}
        for name in ("file", "PostgreSQL"):
            state, world = folder / name, World()
            state.mkdir(mode=0o700)
            shared = opened(address, world.clock) if name == "PostgreSQL" else None
            made = Scene(state, world, Store(state, world.clock, shared=shared))
            made.house = replace(made.house, ports=PORTS)
            undo.enter_context(made.house)
            scenes[name] = made
        found = {name: engine(made, services) for name, made in scenes.items()}
        written = journal(scenes, writes)
    for what in found["file"]:
        print(
            f"{what:>20}"
            + "".join(f"{name:>12} {one[what][0]:9.1f} {one[what][1]:9.1f}" for name, one in found.items())
        )
    for name, row in written.items():
        print(f"journal in {name}: " + ", ".join(f"{key} {ms:.1f} ms" for key, ms in row.items()))
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({"services": services, "engine": found, "journal": written}, indent=1)
    (RESULTS / "stores.json").write_text(f"{text}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("services", nargs="?", type=int, default=SERVICES)
    parser.add_argument("writes", nargs="?", type=int, default=WRITES)
    given = parser.parse_args()
    main(given.services, given.writes)
