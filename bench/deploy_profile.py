"""Where the time of a deploy goes: each step, what comes before and after them, and what it would take anyway.

    python -m bench.deploy_profile [ROUNDS] [--docker]

Each round brings a new version to everyone by `deploy bluegreen --bake 0`, nobody asking meanwhile. In the same round
the floor is measured: the instances of that version alone, from their start to their first good health check, and a
bare `python -c pass`. Printed are medians in milliseconds, and beside the whole what it may be: the floor and
BEYOND. Results go to bench/results/profile-KIND.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import docker
import requests

from tests.live.shop import Kind, Shop
from tests.ports import free_port

RESULTS = Path(__file__).parent / "results"
READY_WITHIN = 30.0
BEYOND = 0.8  # seconds that a deploy may take beyond the start of its instances alone
Times = dict[str, float]


def one_round(shop: Shop, n: int) -> Times:
    version = f"2.{n}"
    shop.version(version)
    began = time.time()
    events = shop.events("bluegreen", "--bake", "0", "--version", version)
    whole = time.time() - began
    steps = [e for e in events if e["event"] == "step.done"]
    first = next(e["at"] for e in events if e["event"] == "step.began")
    times = {"before the first step": first - began}
    for step in steps:
        times[f"step {step['step']}"] = times.get(f"step {step['step']}", 0.0) + step["seconds"]
    times["between steps"] = steps[-1]["at"] - first - sum(step["seconds"] for step in steps)
    times["after the last step"] = began + whole - steps[-1]["at"]
    times["whole"] = whole
    times["floor: instances alone"] = alone(shop, version)
    times["floor: python -c pass"] = bare()
    return {name: seconds * 1000 for name, seconds in times.items()}


def bare() -> float:
    began = time.time()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.time() - began


def alone(shop: Shop, version: str) -> float:
    """Start as many instances as the manifest says; return the seconds until all are healthy."""
    ports = [free_port() for _ in range(shop.manifest["replicas"])]
    with ExitStack() as stack:
        began = time.time()
        for port in ports:
            stack.enter_context(_contained(shop, version, port) if shop.client else _started(shop, version, port))
        for port in ports:
            while not _healthy(port):
                if time.time() > began + READY_WITHIN:
                    raise SystemExit(f"port {port} is not healthy within {READY_WITHIN:g} s")
                time.sleep(0.002)
        return time.time() - began


def _healthy(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/health", timeout=1).ok
    except requests.ConnectionError:
        return False


def _started(shop: Shop, version: str, port: int) -> ExitStack:
    folder, stack = shop.folder / "releases" / version, ExitStack()
    process = subprocess.Popen(["sh", "./run"], cwd=folder, env={**os.environ, "HOST": "127.0.0.1", "PORT": str(port)})
    stack.callback(process.wait, 10)
    stack.callback(process.kill)
    return stack


def _contained(shop: Shop, version: str, port: int) -> ExitStack:
    assert shop.client is not None
    ports, stack = {"8080/tcp": ("127.0.0.1", port)}, ExitStack()
    environment = {"PORT": "8080", "HOST": "0.0.0.0"}
    container = shop.client.containers.run(f"{shop.name}:{version}", detach=True, ports=ports, environment=environment)
    stack.callback(container.remove, force=True)
    return stack


def rows(times: Sequence[Times]) -> Iterator[tuple[str, float]]:
    for name in dict.fromkeys(name for each in times for name in each):
        yield name, statistics.median(each.get(name, 0.0) for each in times)


def main(rounds: int, kind: Kind) -> None:
    client = docker.from_env() if kind == "docker" else None
    with tempfile.TemporaryDirectory(prefix="dpprof", dir="/tmp") as folder:  # short: sockets lie in it
        shop = Shop(Path(folder), kind, client)
        shop.program = "c"
        try:
            shop.write()
            shop.version("1.0")
            shop.deploy("up", "--version", "1.0")
            times = [one_round(shop, n) for n in range(rounds)]
        finally:
            shop.close()
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"profile-{kind}.json").write_text(json.dumps(times, indent=1) + "\n")
    print(f"{rounds} deploys of {shop.manifest['replicas']} instances, {kind}; medians in milliseconds\n")
    floor = statistics.median(each["floor: instances alone"] for each in times)
    for name, value in rows(times):
        budget = f"   budget {floor + BEYOND * 1000:.0f}" if name == "whole" else ""
        print(f"{name:28}{value:9.0f}{budget}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rounds", nargs="?", type=int, default=20)
    parser.add_argument("--docker", action="store_true", help="on the Docker engine, instead of processes")
    given = parser.parse_args()
    main(given.rounds, "docker" if given.docker else "process")
