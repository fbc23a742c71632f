"""How long `deploy rollback` takes, from the start of its process to the last answer of the bad release.

    python -m bench.rollback [ROUNDS] [--no-engine | --proxies]

Each round brings a new version to everyone by `deploy bluegreen`, on runtime `process` behind an HAProxy of our own,
and takes it back by `deploy rollback` while a client asks every millisecond. In the same round two floors are run: a
bare `python -c pass`, and an isolated interpreter that writes one value to the proxy and reads it back. Printed are
medians, the 90th percentile, ratios, and the requests that failed in all rounds. Results go to
bench/results.

With `--proxies`, as root: two proxies on machines of the lab, each in a network namespace, reached by ssh over a veth.
In a round it is done twice, over the connections that the deploy has left, and with new ones; the last bad answer is
that of either proxy, and the floor is one ssh that does nothing there.
"""

from __future__ import annotations

import json
import shlex
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Self

from deployer.emergency import endpoint
from tests.lab.machines import Lab
from tests.live.shop import Shop
from tests.machines.edged import EDGE, Edged, lab_of_edges
from tests.machines.farm import CONTROL, engine

RESULTS = Path(__file__).parent / "results"
PASS = ["-c", "pass"]
ONE_WRITE = """
import _socket, sys
path, map_, key, value = sys.argv[1:]
def ask(command):
    s = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    s.connect(path); s.sendall(command.encode() + b"\\n"); s.shutdown(_socket.SHUT_WR)
    while s.recv(65536): pass
worker = "@1 "
ask(f"{worker}set map {map_} {key} {value}"); ask(f"{worker}get map {map_} {key}")
"""


class Client:
    """Asks which version answers, again and again, and remembers when it heard each one last."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._host, self._port = host, port
        self.last: dict[str, float] = {}
        self.failed = 0
        self.answered = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join(10)

    def _run(self) -> None:
        connection = HTTPConnection(self._host, self._port, timeout=5)
        while not self._end.wait(0.001):
            try:
                connection.request("GET", "/version")
                answer = connection.getresponse()
                answer.read()
                self.last[answer.headers["X-Version"] or "?"] = time.monotonic()
                self.answered += 1
                self.failed += answer.status != 200
            except (OSError, HTTPException):
                self.failed += 1
                connection.close()
        connection.close()


def timed(run: Callable[[], object]) -> float:
    """Return milliseconds."""
    began = time.monotonic()
    run()
    return (time.monotonic() - began) * 1000


def python(*arguments: str) -> Callable[[], object]:
    return lambda: subprocess.run([sys.executable, *arguments], check=True)


def one_round(shop: Shop, n: int, environment: dict[str, str]) -> dict[str, float]:
    """Bring a version, take it back; return what each took in milliseconds, and the requests that failed."""
    version = f"2.{n}"
    shop.version(version)
    shop.deploy("bluegreen", "--bake", "0", "--version", version)
    place = endpoint.read(str(shop.state), shop.name)
    if place is None:
        raise SystemExit("there is no card of the service")
    floors = {
        "bare python": timed(python(*PASS)),
        "one write": timed(python("-I", "-S", "-c", ONE_WRITE, place.socket, place.map, "nobody", "0")),
    }
    gone, whole, failed = rolled_back(shop, version, ["127.0.0.1"], environment)
    return {**floors, "last bad answer": gone, "written down": whole, "failed": failed}


def rolled_back(
    shop: Shop, version: str, hosts: Sequence[str], environment: dict[str, str]
) -> tuple[float, float, int]:
    """Take a version back under the eyes of a client of each proxy.

    Give milliseconds until the last of its answers, and until all is written down; and the requests that failed.
    """
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(shop.port, host)) for host in hosts]
        while any(version not in client.last for client in clients):
            time.sleep(0.001)
        began = time.monotonic()
        done = subprocess.run(
            shop.command("rollback"), cwd=shop.folder, env=environment, capture_output=True, text=True, check=False
        )
        whole = time.monotonic() - began
    if done.returncode:
        raise SystemExit(f"deploy rollback: exit {done.returncode}\n{done.stdout}{done.stderr}")
    gone = max(client.last[version] for client in clients) - began
    return gone * 1000, whole * 1000, sum(client.failed for client in clients)


def one_round_of_two(edged: Edged, lab: Lab, n: int) -> dict[str, float]:
    """Bring and take back two versions at two proxies: with the connections there are, and with none."""
    addresses = [lab[name].address for name in EDGE]
    ssh = ["ssh", "-i", str(lab.key), *shlex.split(lab.ssh_args), "-o", "BatchMode=yes", f"root@{addresses[0]}", "true"]
    row = {
        "bare python": timed(python(*PASS)),
        "one ssh": timed(lambda: subprocess.run(ssh, check=True)),
        "failed": 0.0,
    }
    for kind in ("kept", "new"):
        version = f"2.{n}.{kind}"
        edged.version(version)
        edged.deploy("bluegreen", "--bake", "0", "--version", version)
        if kind == "new":
            edged.cut_off()
        gone, whole, failed = rolled_back(edged, version, addresses, edged.environment())
        row |= {f"last bad answer, {kind} connections": gone, "written down": whole, "failed": row["failed"] + failed}
    return row


def two_proxies(rounds: int) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="dpbench", dir="/tmp") as folder,
        lab_of_edges() as lab,
        engine(lab[CONTROL]) as client,
    ):
        edged = Edged(Path(folder), lab, client)
        try:
            edged.version("1.0")
            edged.deploy("up", "--version", "1.0")
            rows = [one_round_of_two(edged, lab, n) for n in range(rounds)]
        finally:
            edged.close()
    report(rows, "rollback-proxies.json")


def main(rounds: int, no_engine: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="dpbench", dir="/tmp") as folder:  # short: sockets lie in it
        shop = Shop(Path(folder), "process", None)
        shop.program = "c"
        environment = {**shop.environment(), **({"DOCKER_HOST": "unix:///nowhere.sock"} if no_engine else {})}
        try:
            shop.write()
            shop.version("1.0")
            shop.deploy("up", "--version", "1.0")
            rows = [one_round(shop, n, environment) for n in range(rounds)]
        finally:
            shop.close()
    report(rows, "rollback.json")


def report(rows: Sequence[dict[str, float]], file: str) -> None:
    print(f"{len(rows)} rounds, {sum(r['failed'] for r in rows):g} failed requests; milliseconds\n")
    print(f"{'':34}{'median':>9}{'90 %':>9}{'× bare python':>15}")
    bare = [r["bare python"] for r in rows]
    for name in (name for name in rows[0] if name != "failed"):
        values = sorted(r[name] for r in rows)
        ratio = statistics.median(r[name] / b for r, b in zip(rows, bare, strict=True))
        print(f"{name:34}{statistics.median(values):9.1f}{values[int(len(values) * 0.9)]:9.1f}{ratio:15.2f}")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / file).write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    words = sys.argv[1:]
    number = next((int(w) for w in words if w.isdigit()), 20)
    if "--proxies" in words:
        two_proxies(number)
    else:
        main(number, "--no-engine" in words)
