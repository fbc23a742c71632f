"""What share, lease, budget, request stream and shield cost at the proxy, beside a plain HAProxy in the same run.

    python -m bench.proxy_cost [ROUNDS] [HAPROXY]

Needs `wrk`. All stand before the same upstream, choose the backend by the name asked for, and set the same forwarded
headers; each round loads one after the other. Printed are the medians of the rounds: requests a second as a ratio, and
the processor time of the proxy for a request. The proxies have the last core, and one thread each, load and upstream
the others. On a machine that does something else meanwhile trust neither much, the second more.
"""

from __future__ import annotations

import http.client
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

from deployer.core.clock import Deadline, SystemClock
from deployer.drivers.traffic.haproxy import HAProxyTraffic, binary
from deployer.manifest.models import Manifest
from deployer.model import Live, Release, Server
from tests.ports import free_port

SECONDS, CONNECTIONS = 3, 64
KINDS: dict[str, dict[str, object]] = {
    "each request thrown": {"sticky": False, "shield": False},
    "clients keep their side": {"sticky": True, "shield": False},
    "with the shield": {"sticky": False},
}
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
  use_backend %[req.hdr(host),host_only,lower,map_str({names},shop)]
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
        names = folder / "names.map"
        names.write_text("shop.example.com shop\n")
        upstream, plain = free_port(), free_port()
        cores = sorted(os.sched_getaffinity(0))
        stack.callback(os.sched_setaffinity, 0, cores)
        text = PLAIN.format(port=plain, upstream=upstream, names=names)
        os.sched_setaffinity(0, cores[-1:])  # what is started has it too
        pid = stack.enter_context(_haproxy(program, folder / "plain.cfg", text))
        os.sched_setaffinity(0, cores[:-1] or cores)
        stack.enter_context(_haproxy(program, folder / "up.cfg", UPSTREAM.format(port=upstream)))
        print(f"{program} {'.'.join(map(str, binary.version_of(program)))}, share 10 %, {rounds} rounds")
        for kind, traffic in KINDS.items():
            with ExitStack() as inner:
                proxy, port, worker = inner.enter_context(_ours(folder, program, upstream, traffic, cores))
                samples = inner.enter_context(proxy.samples("shop"))
                cookie = _cookie(port)
                pairs = [(_load(plain, pid, cookie), _load(port, worker, cookie)) for _ in range(rounds)]
                time.sleep(0.5)
                sample = samples.take()
            _print(kind, pairs)
            print(f"{'':26} {sample.stable.requests + sample.candidate.requests} told, {sample.lost} lost")


def _print(kind: str, pairs: list[tuple[Round, Round]]) -> None:
    plain, ours = (statistics.median(r.cpu for r in rounds) for rounds in zip(*pairs, strict=True))
    rate = statistics.median(ours.rate / plain.rate for plain, ours in pairs)
    cpu = statistics.median(ours.cpu / plain.cpu for plain, ours in pairs)
    print(f"{kind:26} throughput x {rate:.3f}, processor x {cpu:.3f} ({plain:.2f} -> {ours:.2f} us a request)")


def _cookie(port: int) -> str:
    """Return the cookie of a client that was there before: giving one to each request would cost something else."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", "/", headers={"Host": "shop.example.com"})
    return connection.getresponse().headers.get("Set-Cookie", "a=b").partition(";")[0]


def _load(port: int, pid: int, cookie: str) -> Round:
    before = _ticks(pid)
    argv = [
        "wrk",
        "-t1",
        f"-c{CONNECTIONS}",
        f"-d{SECONDS}s",
        "-H",
        "Host: shop.example.com",
        "-H",
        f"cookie: {cookie}",
        f"http://127.0.0.1:{port}/",
    ]
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
    config.write_text(text)
    with subprocess.Popen([program, "-db", "-f", config], stderr=subprocess.DEVNULL) as process:
        try:
            time.sleep(0.3)  # wrk would fail at once where nobody listens
            yield process.pid
        finally:
            process.terminate()


@contextmanager
def _ours(
    folder: Path, program: Path, upstream: int, settings: dict[str, object], cores: list[int]
) -> Iterator[tuple[HAProxyTraffic, int, int]]:
    clock, port = SystemClock(), free_port()
    traffic = HAProxyTraffic(folder / "proxy", clock, program=program)
    said = {"service": "shop", "image": "app:1", "port": 80, "health": {"tcp": True}}
    manifest = Manifest.model_validate(
        {**said, "traffic": {"listen": f"127.0.0.1:{port}", "domains": ["shop.example.com"], **settings}}
    )
    release = Release("shop", 1, "1", "app:1", "sha256:1", manifest, "h1")
    try:
        os.sched_setaffinity(0, cores[-1:])
        for colour in ("blue", "green"):
            traffic.configure(release, colour, Deadline.after(clock, 20))
            traffic.attach("shop", colour, [Server("one", f"127.0.0.1:{upstream}")], Deadline.after(clock, 20))
        traffic.set_traffic("shop", Live("blue", 1000, int(time.time()) + 3600, 1, 50), Deadline.after(clock, 20))
        os.sched_setaffinity(0, cores[:-1] or cores)
        yield traffic, port, traffic._proxy.master.current()[0].pid
    finally:
        traffic.forget("shop", Deadline.after(clock, 30))


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 5,
        Path(sys.argv[2]) if len(sys.argv) > 2 else binary.find().path,
    )
