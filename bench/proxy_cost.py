"""What deployer's proxy costs a request, beside a plain HAProxy with the same routing and headers in the same run.

    python -m bench.proxy_cost [--full] [--only SERVICES] [--rounds N] [--haproxy PROGRAM]

Needs `wrk`. In each round each proxy is loaded right after the plain one that it is compared with, all before the same
upstream: without a rollout, and with a share of 10 %, lease, budget and shield while the request stream is read; with
one service at the entry and with many; with and without a header that may choose the side. Printed are the medians of
the rounds and, in brackets, the least and the most of them. The proxies have the last core, and one thread each, load
and upstream the others. On a machine that does something else meanwhile trust the ratios, and the processor time more
than the requests a second.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from bench.proxies import Ours, one_more, ours, plain, upstream
from deployer.drivers.traffic.haproxy import binary

CONNECTIONS = 64


@dataclass(frozen=True)
class Kind:
    """A proxy of ours: how many services stand at its entry, and what their manifests say."""

    services: int
    force: bool = False
    sticky: bool = False
    retry: str = "answers"
    chain: bool = False  # the entry of a chain, which stamps the side of each request

    def __str__(self) -> str:
        """Return what is printed of it."""
        words = [f"{self.retry}, {self.services} service{'s' * (self.services > 1)}"]
        words += ["header may choose"] * self.force + ["sticky"] * self.sticky + ["entry of a chain"] * self.chain
        return ", ".join(words)


RETRIES = ("connections", "answers")
SHORT = (*(Kind(1, retry=retry) for retry in RETRIES), Kind(100, retry=RETRIES[0]), Kind(100, force=True))
FULL = (
    *(Kind(n, retry=retry) for retry in RETRIES for n in (1, 1000)),
    *(Kind(n, sticky=True, retry=RETRIES[0]) for n in (1, 1000)),
    *(Kind(n, force=force, retry=RETRIES[0]) for n in (20, 100) for force in (False, True)),
    *(Kind(n, force=True, retry=RETRIES[0]) for n in (1, 1000)),
    Kind(1, chain=True, retry=RETRIES[0]),
)


@dataclass(frozen=True)
class Load:
    """One load on one proxy."""

    rate: float  # requests a second
    cpu: float  # microseconds of the proxy's processor time a request


@dataclass
class Measured:
    """A proxy of ours with a share, and what was measured there: each load with that of the plain proxy before it."""

    kind: Kind
    proxy: Ours
    share: int
    pairs: list[tuple[Load, Load]] = field(default_factory=list)

    def __str__(self) -> str:
        """Return the line of the table."""
        cpu = [plain.cpu / ours.cpu for plain, ours in self.pairs]
        rate = [ours.rate / plain.rate for plain, ours in self.pairs]
        before, now = (statistics.median(load.cpu for load in loads) for loads in zip(*self.pairs, strict=True))
        share = f"{self.share / 100:g} %"
        return f"{self.kind!s:44} {share:>5}  {_spread(cpu)}  {_spread(rate)}  {before:5.1f} -> {now:5.1f} us"


def main(kinds: Sequence[Kind], rounds: int, seconds: float, program: Path) -> None:
    """Measure and print."""
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed: apt install wrk")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dpb", dir="/tmp")))
        loads, proxies = cores()
        stack.enter_context(on(loads))
        behind = stack.enter_context(upstream(folder, program))
        numbers = sorted({kind.services for kind in kinds})
        with on(proxies):
            beside = {n: stack.enter_context(plain(program, n, behind, folder)) for n in numbers}
            there = {
                kind: stack.enter_context(ours(folder / f"p{i}", program, kind.services, behind, _traffic(kind)))
                for i, kind in enumerate(kinds)
            }
        table = [Measured(kind, there[kind], share) for kind in kinds for share in (0, 1000)]
        for _ in range(rounds):
            for row in table:
                bare = beside[row.kind.services]
                row.pairs.append((load(bare.port, bare.pid, "a=b", seconds), _share(row, seconds)))
        version = ".".join(map(str, binary.version_of(program)))
        print(f"HAProxy {version}, {rounds} rounds of {seconds:g} s: of the plain proxy's throughput, by processor")
        print(f"time and by requests a second; processor time a request\n{'':44} share")
        for row in table:
            print(row)
        for kind, proxy in there.items():
            if kind == Kind(kind.services, retry=RETRIES[0]):
                print(f"one more beside {kind}: configured and loaded in {one_more(proxy) * 1000:.0f} ms")


def _traffic(kind: Kind) -> dict[str, object]:
    force, chain = {"force": {"header": "X-Side"}} if kind.force else {}, {"chain": "shop"} if kind.chain else {}
    return {"sticky": kind.sticky, "retry": kind.retry, **force, **chain}


def _share(row: Measured, seconds: float) -> Load:
    row.proxy.share(row.share)
    reading = row.proxy.traffic.samples("shop") if row.share else nullcontext()
    with reading:
        return load(row.proxy.port, row.proxy.pid, row.proxy.cookie(), seconds)


def _spread(values: Sequence[float]) -> str:
    return f"x {statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def cores() -> tuple[list[int], list[int]]:
    """Return the processors of load and upstream, and those of the proxies."""
    cores = sorted(os.sched_getaffinity(0))
    return cores[:-1] or cores, cores[-1:]


@contextmanager
def on(cores: Sequence[int]) -> Iterator[None]:
    """Run on these cores, with everything that is started meanwhile."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def load(port: int, pid: int, cookie: str, seconds: float) -> Load:
    """Ask a proxy as often as it answers."""
    headers = ["-H", "Host: shop.example.com", "-H", f"cookie: {cookie}"]
    argv = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:g}s", *headers, f"http://127.0.0.1:{port}/"]
    before, began = _cpu(pid), time.monotonic()
    said = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=seconds + 20).stdout
    used, lasted = _cpu(pid) - before, time.monotonic() - began
    found, bad = re.search(r"(\d+) requests in", said), re.search(r"Non-2xx.*|Socket errors.*", said)
    if found is None or bad is not None:
        raise SystemExit(said)
    return Load(int(found[1]) / lasted, used / int(found[1]))


def _cpu(pid: int) -> float:
    """Return the microseconds of processor time of a process."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1000


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.proxy_cost")
    parser.add_argument("--full", action="store_true", help="1, 20, 100 and 1,000 services, about ten minutes")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--seconds", type=int, default=0)
    parser.add_argument("--only", type=int, help="only rows with this many services")
    parser.add_argument("--haproxy", type=Path, default=None)
    said = parser.parse_args()
    main(
        [kind for kind in (FULL if said.full else SHORT) if said.only in (None, kind.services)],
        said.rounds or (7 if said.full else 3),
        said.seconds or (3 if said.full else 1),
        said.haproxy or binary.find().path,
    )
