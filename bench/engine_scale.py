"""What the engine itself costs when there is more to do: `python -m bench.engine_scale [SIZES…]`.

On drivers in memory, with the real engine and the real store, so that what is left is ours: planning, steps, journal,
events. Once a service of one instance on each of N machines, once N services of two instances on one, with two jobs
each; each gets a release, then a second one by `bluegreen`. Milliseconds of processor time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

from deployer.app import operations, queries
from deployer.app.jobs.scheduler import Scheduler
from deployer.app.operations import AppContext, RolloutResult
from deployer.app.status import status_of
from deployer.core.errors import Exit
from deployer.core.host import Host, Meant
from deployer.planning.orders import StopRequest
from tests.house import REPOSITORY, Scene, house, request
from tests.memory import PaperPulse

RESULTS = Path(__file__).parent / "results"
SIZES = (1, 10, 100, 1000)
PORTS = range(10_000, 60_000)
AT_ONCE = {"strategy": {"bluegreen": {"bake": "0s"}}, "judge": {"requests": 1}}
JOBS = {n: {"cron": f"{m} 3 * * *", "command": ["job"]} for m, n in enumerate(("one", "two"))}
Row = dict[str, float]


def cost(work: Callable[[], object]) -> float:
    """Return the processor time of all threads, in milliseconds."""
    began = time.process_time()
    work()
    return (time.process_time() - began) * 1000


def scene(folder: Path, machines: int) -> Scene:
    """Return a house in memory with so many machines."""
    made = Scene(folder)
    made.house = replace(made.house, ports=PORTS)
    hosts = tuple(Host(f"web{n}", f"10.0.{n // 250}.{n % 250}", "ssh", f"web{n}.example.com") for n in range(machines))
    made.house.find = lambda manifest, _folder: Meant(hosts if manifest.hosts != "local" else ())
    return made


def deploy(made: Scene, version: str, **manifest: object) -> None:
    """Deploy, and look that it was done."""
    ending: RolloutResult = made.deploy(version, manifest={**AT_ONCE, **manifest})
    if ending.exit is not Exit.DONE:
        raise SystemExit(f"not deployed: {ending.text}")


def on_machines(folder: Path, count: int) -> Row:
    """Cost of one service on `count` machines."""
    made = scene(folder, count)
    given = {"hosts": "web", "replicas": 1}
    with made.house:
        first = cost(lambda: deploy(made, "1.0", **given))
        asked = request("2.0", "bluegreen", REPOSITORY, manifest={**AT_ONCE, **given})
        return {
            "first": first,
            "plan": cost(lambda: operations.propose(made.house, asked)),
            "deploy": cost(lambda: deploy(made, "2.0", **given)),
            "status": cost(lambda: status_of(made.house, "shop")),
            "rollback": cost(lambda: operations.rollback(made.house, "shop")),
        }


def look(made: Scene, folder: Path) -> float:
    """Cost of one look at what is due, where nothing is."""

    @contextmanager
    def opened(stop: StopRequest) -> Iterator[AppContext]:
        with house(folder, made.world) as its:
            its.stop = stop
            yield its

    scheduler = Scheduler(opened, lambda text, _run: print(text))
    scheduler.look()  # what is new is recorded with the first, the due times are worked out with the second
    scheduler.look()
    return statistics.median(cost(scheduler.look) for _ in range(5))


def beside_services(folder: Path, count: int) -> Row:
    """Cost of one deploy, and of all, where `count` services are on one machine and in one store."""
    made = scene(folder, 0)
    with made.house:

        def deploy_all() -> None:
            for n in range(count):
                deploy(made, "1.0", service=f"s{n}", schedule=JOBS)

        spent = cost(deploy_all)
        return {
            "each first": spent / count,
            "deploy": cost(lambda: deploy(made, "2.0", service="s0")),
            "status": cost(lambda: status_of(made.house, "s0")),
            "list": cost(lambda: queries.services(made.house)),
            "look": look(made, folder),
        }


def show(title: str, rows: dict[int, Row]) -> None:
    """Print a table, with what the last size costs more than the one before for each that is more."""
    print(f"{title}\n{'':>8}" + "".join(f"{name:>12}" for name in next(iter(rows.values()))))
    for size, row in rows.items():
        print(f"{size:>8}" + "".join(f"{ms:>12,.1f}" for ms in row.values()))
    print()


def main(sizes: list[int]) -> None:
    found: dict[str, dict[int, Row]] = {}
    with patch("deployer.engine.walk.LeaseRenewer", PaperPulse), tempfile.TemporaryDirectory() as folder:
        for title, measure in (("machines", on_machines), ("services", beside_services)):
            found[title] = {size: measure(Path(folder) / f"{title}{size}", size) for size in sizes}
            show(f"{title}: milliseconds of processor time", found[title])
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "engine-scale.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", type=int, default=list(SIZES), help="how many machines, and services")
    main(parser.parse_args().sizes)
