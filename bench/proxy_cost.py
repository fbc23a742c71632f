"""What share, lease, budget, shield and request stream cost at the proxy, beside a plain HAProxy in the same run.

    python -m bench.proxy_cost [ROUNDS] [HAPROXY]

Needs `wrk`. Both proxies stand before the same upstream and set the same forwarded headers; each round loads one after
the other. Printed: requests a second and processor time a request of each, and the median ratio of the rounds.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from deployer.clock import Deadline, SystemClock
from deployer.drivers.traffic.haproxy import HAProxyTraffic, binary
from deployer.manifest.models import Manifest
from deployer.model import Live, Release, Server
from tests.ports import free_port

SECONDS, CONNECTIONS = 3, 64
UPSTREAM = """\
defaults
  mode http
  timeout client 60s
  timeout connect 1s
  timeout server 60s
frontend up
  bind 127.0.0.1:{port}
  http-request return status 200 content-type text/plain string "hello"
"""
PLAIN = """\
defaults
  mode http
  timeout client 60s
  timeout connect 1s
  timeout server 60s
  timeout http-keep-alive 15s
  option redispatch 1
frontend plain
  bind 127.0.0.1:{port}
  default_backend shop
backend shop
  balance leastconn
  http-request del-header x-forwarded- -m beg
  http-request del-header forwarded
  http-request set-header X-Forwarded-For "%[src]"
  http-request set-header X-Forwarded-Host "%[req.hdr(host)]"
  http-request set-header X-Forwarded-Proto http
  server one 127.0.0.1:{upstream} check inter 1s
"""


@dataclass(frozen=True)
class Round:
    """One load on one proxy."""

    rate: float  # requests a second
    cpu: float  # microseconds of the proxy's processor time a request


def main(rounds: int, program: Path) -> None:
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed: apt install wrk")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dpb", dir="/tmp")))
        upstream, plain = free_port(), free_port()
        stack.enter_context(_haproxy(program, folder / "up.cfg", UPSTREAM.format(port=upstream)))
        pid = stack.enter_context(_haproxy(program, folder / "plain.cfg", PLAIN.format(port=plain, upstream=upstream)))
        for sticky in (False, True):
            with _ours(folder, program, upstream, sticky=sticky) as (traffic, port, worker):
                seen: dict[str, list[Round]] = {"plain": [], "ours": []}
                with traffic.samples("shop") as samples:
                    for _ in range(rounds):
                        seen["plain"].append(_load(plain, pid))
                        seen["ours"].append(_load(port, worker))
                    time.sleep(0.5)
                    sample = samples.take()
                told = sample.stable.requests + sample.candidate.requests
                _print(program, seen, sticky=sticky, told=told, lost=sample.lost)


def _print(program: Path, seen: dict[str, list[Round]], *, sticky: bool, told: int, lost: int) -> None:
    kind = "sticky" if sticky else "each request thrown"
    for name, rounds in seen.items():
        rate, cpu = statistics.median(r.rate for r in rounds), statistics.median(r.cpu for r in rounds)
        print(f"{program.name} {kind:20} {name:6} {rate:9.0f} requests/s {cpu:7.2f} us of processor a request")
    pairs = list(zip(seen["plain"], seen["ours"], strict=True))
    rate = statistics.median(ours.rate / plain.rate for plain, ours in pairs)
    cpu = statistics.median(ours.cpu / plain.cpu for plain, ours in pairs)
    print(f"{'':28} ratio: throughput {rate:.3f}, processor {cpu:.3f}; stream told {told}, lost {lost}")


def _load(port: int, pid: int) -> Round:
    before = _ticks(pid)
    argv = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", f"http://127.0.0.1:{port}/"]
    said = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=SECONDS + 20).stdout
    used = (_ticks(pid) - before) / os.sysconf("SC_CLK_TCK")
    found, bad = re.search(r"(\d+) requests in", said), re.search(r"Non-2xx.*|Socket errors.*", said)
    if found is None or bad is not None:
        raise SystemExit(said)
    count = int(found[1])
    return Round(count / SECONDS, used * 1e6 / count)


def _ticks(pid: int) -> int:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(words[11]) + int(words[12])


@contextmanager
def _haproxy(program: Path, config: Path, text: str) -> Iterator[int]:
    config.write_text("global\n  nbthread 1\n" + text)
    with subprocess.Popen([program, "-db", "-f", config], stderr=subprocess.DEVNULL) as process:
        try:
            time.sleep(0.3)  # wrk would fail at once where nobody listens
            yield process.pid
        finally:
            process.terminate()


@contextmanager
def _ours(folder: Path, program: Path, upstream: int, *, sticky: bool) -> Iterator[tuple[HAProxyTraffic, int, int]]:
    clock, port = SystemClock(), free_port()
    traffic = HAProxyTraffic(folder / "proxy", clock, program=program)
    manifest = Manifest.model_validate(
        {
            "service": "shop",
            "image": "app:1",
            "port": 80,
            "health": {"tcp": True},
            "traffic": {"listen": f"127.0.0.1:{port}", "sticky": sticky},
        }
    )
    release = Release("shop", 1, "1", "app:1", "sha256:1", manifest, "h1")
    try:
        for colour in ("blue", "green"):
            traffic.configure(release, colour, Deadline.after(clock, 20))
            traffic.attach("shop", colour, [Server("one", f"127.0.0.1:{upstream}")], Deadline.after(clock, 20))
        traffic.steer("shop", Live("blue", 1000, int(time.time()) + 3600, 1, 50), Deadline.after(clock, 20))
        yield traffic, port, traffic._proxy.master.current()[0].pid
    finally:
        traffic.forget("shop", Deadline.after(clock, 30))


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 5,
        Path(sys.argv[2]) if len(sys.argv) > 2 else binary.find().path,
    )
