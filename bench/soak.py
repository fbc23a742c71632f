"""Deploys and rollbacks in a row, under load: what they leave behind, and whether it grows.

    python -m bench.soak [ROUNDS] [--docker] [--rate N]

Each round brings a new version to everyone by `deploy bluegreen` and takes it back by `deploy rollback`, while clients
ask (50 a second unless said otherwise, on new and on kept connections). After each it counts, for this service alone:
memory and open files of the proxy's workers, its processes, instances, size of store and of all other files of the
state folder. Printed are the means of the first and the last fifth of the rounds, how much there is more of it a round
in between, and the requests that were lost. The command fails when one was lost, or when there are more instances or
processes of the proxy at the end than at the beginning. Results go to bench/results/soak-KIND.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import docker

from deployer.core.clock import Deadline, SystemClock
from deployer.drivers.traffic.haproxy.master import MasterSocket
from tests.live.shop import Kind, Shop
from tests.load import Load, Options

RESULTS = Path(__file__).parent / "results"
SETTLED_WITHIN = 15.0  # seconds in which a worker that a reload replaced has ended, and a warm one is released
MUST_NOT_GROW = ("workers of the proxy", "instances")
Count = dict[str, float]


def proxy_workers(shop: Shop) -> list[int]:
    master = MasterSocket(shop.state / "proxy" / "master.sock", SystemClock())
    return [worker.pid for worker in master.workers(Deadline.after(SystemClock(), 5))]


def memory(pid: int) -> float:
    """Return the MiB that a process has of its own."""
    with suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0


def open_files(pid: int) -> int:
    with suppress(FileNotFoundError, ProcessLookupError):
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return 0


def sizes(folder: Path) -> Iterator[tuple[Path, int]]:
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            if path.is_file() and not path.is_symlink():
                yield path, path.stat().st_size


def counted(shop: Shop) -> Count:
    """Count what there is now."""
    workers = proxy_workers(shop)
    files = list(sizes(shop.state))
    store = sum(size for path, size in files if path.name.startswith("deployer.db"))
    return {
        "workers of the proxy": len(workers),
        "their memory, MiB": sum(map(memory, workers)),
        "their open files": sum(map(open_files, workers)),
        "instances": sum(len(each["instances"]) for each in shop.status()["environments"]),
        "store, KiB": store / 1024,
        "other files": len(files),
        "their size, KiB": (sum(size for _, size in files) - store) / 1024,
    }


def settled(shop: Shop, before: Count | None) -> Count:
    """Count once what is on its way out has gone, or after SETTLED_WITHIN."""
    deadline = time.monotonic() + SETTLED_WITHIN
    while True:
        now = counted(shop)
        if before is None or time.monotonic() > deadline or all(now[n] <= before[n] for n in MUST_NOT_GROW):
            return now
        time.sleep(0.5)


def one_round(shop: Shop, n: int, before: Count | None) -> Count:
    version = f"2.{n}"
    shop.version(version)
    began = time.monotonic()
    shop.deploy("bluegreen", "--bake", "0", "--version", version)
    deployed = time.monotonic()
    shop.deploy("rollback")
    back = time.monotonic()
    return {"deploy, s": deployed - began, "rollback, s": back - deployed, **settled(shop, before)}


def main(rounds: int, kind: Kind, rate: int) -> int:
    client = docker.from_env() if kind == "docker" else None
    with tempfile.TemporaryDirectory(prefix="dpsoak", dir="/tmp") as folder:  # short: sockets lie in it
        shop = Shop(Path(folder), kind, client)
        shop.program = "c"
        try:
            shop.write()
            shop.version("1.0")
            shop.deploy("up", "--version", "1.0")
            rows: list[Count] = []
            with Load(shop.url, Options(rate=rate, kinds=("fresh", "busy", "sticky"))) as load:
                for n in range(rounds):
                    rows.append(one_round(shop, n, rows[0] if rows else None))
                    if sys.stderr.isatty():
                        print(f"\r{n + 1} of {rounds} rounds", end="", file=sys.stderr)
                report = load.stop()
        finally:
            shop.close()
    told = {"kind": kind, "requests": report.sent, "lost": report.failed, "rounds": rows}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"soak-{kind}.json").write_text(json.dumps(told, indent=1) + "\n")
    print(f"{rounds} deploys and {rounds} rollbacks, {kind}: {report.sent} requests, {report.failed} lost\n")
    return 1 if report.failed or not table(rows) else 0


def table(rows: Sequence[Count]) -> bool:
    """Print what there was at the beginning and at the end; return whether nothing is left behind."""
    fifth, well = max(1, len(rows) // 5), True
    print(f"{'':24}{'first':>10}{'last':>10}{'more a round':>14}")
    for name in rows[0]:
        first = statistics.mean(row[name] for row in rows[:fifth])
        last = statistics.mean(row[name] for row in rows[-fifth:])
        more = (last - first) / max(1, len(rows) - fifth)
        print(f"{name:24}{first:10.2f}{last:10.2f}{more:14.3f}")
        well = well and (name not in MUST_NOT_GROW or rows[-1][name] <= rows[0][name])
    return well


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rounds", nargs="?", type=int, default=100)
    parser.add_argument("--docker", action="store_true", help="on the Docker engine, instead of processes")
    parser.add_argument("--rate", type=int, default=50, help="requests a second")
    given = parser.parse_args()
    sys.exit(main(given.rounds, "docker" if given.docker else "process", given.rate))
