"""The loads, one after the other, and the table; see the package."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import docker

from bench.elastic import figures
from bench.elastic.figures import Figures
from bench.elastic.loads import LOADS, Planned, planned
from bench.elastic.ways import VERSION, Elastic, Fixed, FixedSwarm, Way
from bench.peers.ground import apart, engine
from deployer.manifest.scale import ScaleSettings
from tests.lab import image
from tests.load import PLANNED, Load, Options, Report

RESULTS = Path(__file__).parents[1] / "results" / "elastic.json"
MOST, CONCURRENCY = 12, 8
IMAGE = "elastic:1"
# Users have processors of their own: where it may, their process goes ahead of what it asks
AHEAD = ("nice", "-n", "-10") if os.geteuid() == 0 else ()


def under(way: Way, plan: Planned, folder: Path) -> tuple[Report, float]:
    """Put a load on a way; return the account of it, and when it began, Unix seconds."""
    plan.write(folder / "plan")
    # Who waits gets a 503 after `scale.wait`, which is half a minute
    options = Options(kinds=(PLANNED,), plan=str(folder / "plan"), timeout=60.0)
    way.begin()
    with way.watched(), Load(way.url, options, AHEAD) as load:
        load.until(
            lambda now: now.answered + now.failed == len(plan.came),
            f"all requests of {plan.name}",
            plan.seconds * 1.5 + 120,
        )
        report = load.stop()
    first = min(report.requests, key=lambda request: int(request.client))
    return report, first.start - plan.came[int(first.client)][0]


def compared(
    plan: Planned, settings: ScaleSettings, folder: Path, client: docker.DockerClient | None, *, alone: bool
) -> Iterator[Figures]:
    """Send a load to each of the ways; yield the rows of the table."""
    elastic = Elastic(folder / f"{plan.name}-scale", settings, client)
    try:
        report, began = under(elastic, plan, folder)
        used = elastic.used(began, began + plan.seconds)
    finally:
        elastic.close()
    came = figures.came(plan, report.requests, began)
    best, policy = figures.beside(came, plan.seconds, settings, figures.start_seconds(used.growths))
    yield figures.measured(plan, elastic.name, report, began, used, best.instance_seconds, os.getloadavg()[0])
    yield figures.simulated(plan, policy, best.instance_seconds)
    if alone:
        return
    needed, _ = figures.beside(plan.came, plan.seconds, settings, 0.0)  # without what a generator that is late adds
    fixed = fixed_number(folder / f"{plan.name}-fixed", needed.most, client)
    try:
        report, began = under(fixed, plan, folder)
    finally:
        fixed.close()
    used = fixed.used(began, began + plan.seconds)
    yield figures.measured(plan, fixed.name, report, began, used, best.instance_seconds, os.getloadavg()[0])


def fixed_number(folder: Path, instances: int, client: docker.DockerClient | None) -> Way:
    return FixedSwarm(folder, instances, client, IMAGE) if client else Fixed(folder, instances, None)


@contextmanager
def private_engine(folder: Path) -> Iterator[docker.DockerClient]:
    """Run a private engine with the image of the app."""
    with engine(folder) as client:
        image.build(IMAGE, version=VERSION, env={"DRAIN": "2000"}, health=True, client=client)
        yield client


def show(given: argparse.Namespace, rows: Sequence[Figures]) -> None:
    """Print the table of what was measured, and write it down."""
    if not rows:
        return
    print(figures.text(rows))
    RESULTS.parent.mkdir(exist_ok=True)
    told = {"minutes": given.minutes, "hold": given.hold, "docker": given.docker, "rows": [r.record() for r in rows]}
    RESULTS.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.elastic", description="sizes that follow a load")
    parser.add_argument("--minutes", type=float, default=10.0, help="of each load (%(default)g)")
    parser.add_argument("--hold", type=float, default=ScaleSettings(max=1, concurrency=1).hold, help="`scale.hold`, s")
    parser.add_argument("--only", nargs="+", default=list(LOADS), choices=list(LOADS), metavar="LOAD")
    parser.add_argument("--docker", action="store_true", help="containers, beside Docker Swarm; as root")
    parser.add_argument("--alone", action="store_true", help="without a fixed number beside it")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(words)
    if given.docker and given.inside is None:
        return apart("bench.elastic", words)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # everything is taken down then, too
    settings = ScaleSettings(min=1, max=MOST, concurrency=CONCURRENCY, hold=given.hold)
    rows: list[Figures] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dpelastic", dir="/tmp")))
        client = stack.enter_context(private_engine(given.inside)) if given.inside else None
        stack.callback(lambda: show(given, rows))  # also what is there when a later load could not be measured
        for name in given.only:
            plan = planned(name, given.minutes * 60, given.seed)
            print(f"{time.strftime('%H:%M:%S')} {name}: {len(plan.came):,} requests", file=sys.stderr)
            for row in compared(plan, settings, folder, client, alone=given.alone):
                rows.append(row)
                print(json.dumps(row.record()), file=sys.stderr)
    return 1 if any(row.lost for row in rows if row.way != "simulated") else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
