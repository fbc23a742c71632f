"""What guests cost the owner of their host: `python -m bench.guests [ROUNDS [SECONDS]]`, as root.

On a real engine and cgroup v1. The owner's service does pieces of 2 ms of work that come at random moments, a process
for each processor, at 60% of it; each is timed from the moment at which it came. A guest at full tilt has 18 processes:
memory taken and given back, forks, files written and opened, connections tried, and loops. In each round the owner is
measured with the guest and without (it is frozen). Then, once a round, how long it takes until all of it is frozen, and
from the call that removes it until its memory is free. Results go to bench/results.

On a host that does other work the owner would not get 60%: it has 16 times its usual weight. Guests are idle, which is
no weight.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import docker

from deployer.drivers.runtime.docker import DockerRuntime
from deployer.drivers.runtime.docker.ground import HostGround
from tests.lab import image
from tests.lab.archive import Image, layer
from tests.live.hostile import PROGRAM, HostileBench, bench, tenants, terms
from tests.waiting import within

RESULTS = Path(__file__).parent / "results"
ROUNDS, SECONDS = 8, 5.0
LOAD, WORK_MICROSECONDS = 0.6, 2000
MIB = 1024 * 1024
HELD = 200 * MIB
OWNER, MORE = "bench-owner", 16


def owner(engine: docker.DockerClient, seconds: float, seed: int) -> tuple[float, float]:
    """Measure the owner for so long: the median and the 99th percentile in milliseconds, of the slowest process."""
    words = ("/steady", str(seconds), str(LOAD), str(WORK_MICROSECONDS))
    made = [
        engine.containers.run(
            "bench-owner:1", [*words, str(seed + n)], detach=True, cpuset_cpus=str(n), cgroup_parent=f"/{OWNER}"
        )
        for n in range(os.cpu_count() or 1)
    ]
    try:
        said = []
        for each in made:
            each.wait(timeout=seconds * 10 + 60)
            said.append([float(word) / 1000 for word in each.logs().decode().split()])
        return max(row[0] for row in said), max(row[1] for row in said)
    finally:
        for each in made:
            each.remove(force=True)


def free(used: Callable[[], int], since: float) -> float:
    """Return after how many seconds memory is free."""
    within(60).until(lambda: used() < 4 * MIB, "the memory of guests is free")
    return time.monotonic() - since


def round_of(
    engine: docker.DockerClient, made: HostileBench, tenant: str, number: int, seconds: float
) -> dict[str, float]:
    """Do it once."""
    runtime = made.runtime
    assert isinstance(runtime, DockerRuntime)
    whole = terms(tenant, cpus=os.cpu_count() or 1, memory=512 * MIB, lent_memory=1024 * MIB, pids=200)
    guest = made.guest(whole)
    group = Path("/sys/fs/cgroup")
    memory = group / "memory" / "deployer-guests" / tenant / "memory.usage_in_bytes"
    container = engine.containers.get(guest.runtime_id)
    for _ in range(2):
        container.exec_run([PROGRAM, "tilt", "600", "172.17.0.1"], detach=True)
    container.exec_run([PROGRAM, "hold", str(HELD), "600"], detach=True)
    within(60).until(lambda: int(memory.read_text()) > HELD, "guests hold memory")
    ground, driver = HostGround(), str(engine.info()["CgroupDriver"])
    ground.do("lower", driver, tenant)  # from here on they are what they are to their owner
    with_guests = owner(engine, seconds, number)
    began = time.monotonic()
    runtime.guests.freeze([guest], within(60))
    called = time.monotonic() - began
    without = owner(engine, seconds, number)
    held = int(memory.read_text())
    began = time.monotonic()
    runtime.remove(guest, 0, within(60))
    back = free(lambda: int(memory.read_text()), began)
    return {
        "p50 without": without[0],
        "p50 with": with_guests[0],
        "p99 without": without[1],
        "p99 with": with_guests[1],
        "processors back": called,
        "memory": held,
        "memory back": back,
    }


def main(rounds: int = ROUNDS, seconds: float = SECONDS) -> None:
    """Run all rounds, print them, and write them down."""
    engine = docker.from_env(timeout=120)
    program = image.binary("steady")
    assert program is not None
    built = Image((layer([(program, "/steady")]),), (), {"PATH": "/"}, {"reference": "bench-owner:1"})
    engine.images.load(built.archive("bench-owner:1"))
    rows = []
    shares = Path("/sys/fs/cgroup/cpu") / OWNER / "cpu.shares"
    shares.parent.mkdir(exist_ok=True)
    shares.write_text(str(1024 * MORE))
    for number in range(rounds):
        with tenants(engine, 1) as (tenant,), bench(engine) as made:
            try:
                rows.append(round_of(engine, made, tenant, number, seconds))
            finally:
                HostGround().do("raise", str(engine.info()["CgroupDriver"]), tenant)  # what is starved does not end
        print({key: round(value, 3) for key, value in rows[-1].items()}, flush=True)
    found = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
    found["p99 ratio"] = statistics.median(row["p99 with"] / row["p99 without"] for row in rows)
    print("median", {key: round(value, 3) for key, value in found.items()})
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "guests.json").write_text(json.dumps({"rounds": rows, "median": found}, indent=1))
    engine.images.remove("bench-owner:1", force=True)
    for each in Path("/sys/fs/cgroup").glob(f"*/{OWNER}"):
        each.rmdir()


if __name__ == "__main__":
    main(*(kind(word) for kind, word in zip((int, float), sys.argv[1:], strict=False)))
