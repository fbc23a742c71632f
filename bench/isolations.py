"""What isolation by gVisor costs a guest beside a container: `python -m bench.isolations [ROUNDS]`, as root.

On a real engine that has declared runsc, and cgroup v1. In each round an instance of either isolation, in turn: from
the call that makes it until it answers a user; the memory of its group while it does nothing; requests that it answers
in a second, one after the other on one connection; then, while it holds memory and burns its processors, until it is
frozen, from there until it answers again, and from the call that removes it until its memory is free. The guest has its
usual part of the processors but for the last three, where it is idle to its owner. Results go to bench/results.
"""

from __future__ import annotations

import http.client
import json
import statistics
import sys
import time
from contextlib import closing
from pathlib import Path

import docker

from bench.guests import MIB, RESULTS, free
from deployer.drivers.runtime.docker import DockerRuntime
from deployer.drivers.runtime.docker.ground import HostGround
from deployer.model import Instance
from tests.conformance.runtimes import answers, wait_until_it_answers
from tests.live.hostile import PROGRAM, HostileBench, bench, tenants, terms
from tests.waiting import within

ROUNDS = 6
HELD = 100 * MIB
ISOLATIONS = ("container", "gvisor")
SERVED_SECONDS = 3.0


def served(guest: Instance) -> float:
    """Return how many requests a second are answered, one after the other."""
    host, _, port = guest.address.partition(":")
    with closing(http.client.HTTPConnection(host, int(port), timeout=10)) as connection:
        began, count = time.monotonic(), 0
        while (spent := time.monotonic() - began) < SERVED_SECONDS:
            connection.request("GET", "/version")
            connection.getresponse().read()
            count += 1
        return count / spent


def round_of(engine: docker.DockerClient, made: HostileBench, tenant: str, isolation: str) -> dict[str, float]:
    """Do it once with one isolation."""
    runtime, ground, driver = made.runtime, HostGround(), str(engine.info()["CgroupDriver"])
    assert isinstance(runtime, DockerRuntime)
    whole = terms(tenant, cpus=1, memory=512 * MIB, lent_memory=1024 * MIB, pids=500, isolation=isolation)
    release = made.guest_release(whole)
    began = time.monotonic()
    guest = runtime.ensure(made.spec(release), within(60))
    called = time.monotonic() - began
    wait_until_it_answers(guest)
    started = time.monotonic() - began

    def used() -> int:
        return int(Path(f"/sys/fs/cgroup/memory/deployer-guests/{tenant}/memory.usage_in_bytes").read_text())

    alone, processes, rate = used(), runtime.guests.use(whole)[""].processes, served(guest)
    container = engine.containers.get(guest.runtime_id)
    container.exec_run([PROGRAM, "burn", "600"], detach=True)
    container.exec_run([PROGRAM, "hold", str(HELD), "600"], detach=True)
    within(60).until(lambda: used() > alone + HELD, "it holds memory")
    ground.do("lower", driver, tenant)
    began = time.monotonic()
    runtime.guests.freeze([guest], within(60))
    frozen = time.monotonic() - began
    assert not answers(guest)
    ground.do("raise", driver, tenant)
    began = time.monotonic()
    container.unpause()
    wait_until_it_answers(guest)
    thawed = time.monotonic() - began
    ground.do("lower", driver, tenant)
    held, began = used(), time.monotonic()
    runtime.remove(guest, 0, within(60))
    return {
        "made": called,
        "answers": started,
        "memory alone": alone,
        "processes alone": processes,
        "requests a second": rate,
        "frozen": frozen,
        "answers again": thawed,
        "memory held": held,
        "memory back": free(used, began),
    }


def main(rounds: int = ROUNDS) -> None:
    """Run all rounds, print them, and write them down."""
    engine = docker.from_env(timeout=120)
    rows: dict[str, list[dict[str, float]]] = {each: [] for each in ISOLATIONS}
    for number in range(rounds):
        for isolation in ISOLATIONS if number % 2 else reversed(ISOLATIONS):
            with tenants(engine, 1) as (tenant,), bench(engine) as made:
                rows[isolation].append(round_of(engine, made, tenant, isolation))
            print(isolation, {key: round(value, 3) for key, value in rows[isolation][-1].items()}, flush=True)
    found = {
        isolation: {key: statistics.median(row[key] for row in some) for key in some[0]}
        for isolation, some in rows.items()
    }
    for isolation, medians in found.items():
        print("median", isolation, {key: round(value, 3) for key, value in medians.items()})
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "isolations.json").write_text(json.dumps({"rounds": rows, "median": found}, indent=1))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
