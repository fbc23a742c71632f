"""What each part of deployer's rules costs a request while a share of 10 % is open: the configuration without it.

    python -m bench.proxy_parts [--retry answers] [--sticky] [--rounds N] [--haproxy PROGRAM]
    python -m bench.proxy_parts --instructions

Needs `wrk`; with `--instructions` instead `valgrind`, which counts the proxy's own instructions, of a request to stable
and of one to the candidate: a busy machine does not change them, but the kernel's part is not among them. Without, it
is processor time, by turns in each round. A part that no proxy in use can do without can be taken out here: nobody
judges what is answered.
"""

from __future__ import annotations

import argparse
import re
import shutil
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.proxies import Plain, awaited, configuration, plain, upstream
from bench.proxy_cost import cores, load, on
from deployer.drivers.traffic.haproxy import binary, frontend, layout, live_value
from deployer.drivers.traffic.haproxy.identity import new_key
from deployer.model import FULL, Live
from tests.ports import free_port

FEW, MANY = 64, 640  # requests of two runs, whose difference has no start of the program in it
SHARE, STREAM = 1000, "requests.sock"
Edit = Callable[[str], str]


def _without(*patterns: str) -> Edit:
    """Return the edit that takes out the lines with one of the patterns."""
    return lambda text: "\n".join(line for line in text.split("\n") if not any(re.search(p, line) for p in patterns))


PARTS: dict[str, Edit] = {
    "all": _without(),
    "no line of each response": _without(r"^  log ring"),
    "no address of the client": _without(r"set-var\(txn\.addr\)", r"txn\.spender", r"sc_get_gpc", r"sc-inc-gpc1"),
    "no time of the response": _without(
        r"\(txn\.us\)", r"set-var\(txn\.t0\)", r"!{ var\(txn\.t0\)", r"x-deployer-time"
    ),
    "no size of the response": _without(r"set-var\(txn\.head\)"),
    "no budget": _without(r"track-sc", r"txn\.spender", r"sc_get_gpc", r"sc-inc-gpc"),
    "no second way of the shield": _without(r"\(txn\.how\) str\(shield\)"),
    "no copies of retries": _without(r"retry-on conn-failure empty-response$", r"disable-l7-retry unless"),
}


@dataclass(frozen=True)
class Settings:
    """What is measured."""

    program: Path
    retry: str
    sticky: bool
    parts: Sequence[str]


def main(settings: Settings, rounds: int, *, instructions: bool) -> None:
    """Measure and print."""
    tool = "valgrind" if instructions else "wrk"
    if shutil.which(tool) is None:
        raise SystemExit(f"{tool} is not installed: apt install {tool}")
    print(f"HAProxy {'.'.join(map(str, binary.version_of(settings.program)))}, retry: {settings.retry}")
    with tempfile.TemporaryDirectory(prefix="dpb", dir="/tmp", ignore_cleanup_errors=True) as folder:
        if instructions:
            _count(settings, Path(folder))
        else:
            _time(settings, rounds, Path(folder))


def _time(settings: Settings, rounds: int, folder: Path) -> None:
    """Print processor time: the lower quartile of the rounds, as what disturbs only adds."""
    loads, proxies = cores()
    with ExitStack() as stack:
        stack.enter_context(on(loads))
        behind = stack.enter_context(upstream(folder, settings.program))
        with on(proxies):
            there: dict[str, tuple[Plain, Path | None]] = {
                "plain HAProxy": (stack.enter_context(plain(settings.program, 1, behind, folder)), None)
            }
            for number, (name, edit) in enumerate((name, PARTS[name]) for name in settings.parts):
                mine, lines = folder / f"p{number}", "line" not in name
                there[name] = (
                    stack.enter_context(_ours(settings, behind, SHARE, edit, mine)),
                    mine / STREAM if lines else None,
                )
        took: dict[str, list[float]] = {name: [] for name in there}
        for turn in range(rounds):
            for name in list(there)[:: -1 if turn % 2 else 1]:
                proxy, stream = there[name]
                with _read(stream):
                    took[name].append(load(proxy.port, proxy.pid, "a=b", 1).cpu)
    for name, each in took.items():
        print(f"{name:32} {statistics.quantiles(each, n=4)[0]:6.1f} us a request, least {min(each):.1f}")


def _count(settings: Settings, folder: Path) -> None:
    """Print instructions."""
    print(f"{'':32} {'stable':>8} {'candidate':>10} {'of 10 %':>8}")
    with upstream(folder, settings.program) as behind:
        bare = _instructions(folder / "plain", False, partial(plain, settings.program, 1, behind))
        print(f"{'plain HAProxy':32} {bare:8,.0f} {bare:10,.0f} {bare:8,.0f}")
        for number, (name, edit) in enumerate((name, PARTS[name]) for name in settings.parts):
            # As good as none, and all: it is known what each request gets.
            stable, candidate = (
                _instructions(
                    folder / f"p{number}-{share}", "line" not in name, partial(_ours, settings, behind, share, edit)
                )
                for share in (1, FULL)
            )
            mixed = stable + (candidate - stable) * SHARE / FULL
            print(f"{name:32} {stable:8,.0f} {candidate:10,.0f} {mixed:8,.0f}", flush=True)


def _instructions(
    folder: Path, lines: bool, run: Callable[[Path, tuple[str, ...]], AbstractContextManager[Plain]]
) -> float:
    counts = []
    for requests in (FEW, MANY):
        mine = folder / str(requests)
        mine.mkdir(parents=True)
        counter = ("valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={mine / 'counted'}")
        with run(mine, counter) as proxy, _read(mine / STREAM if lines else None):
            _ask(proxy.port, requests)
        counts.append(int(re.findall(r"^(?:summary|totals): (\d+)", (mine / "counted").read_text(), re.M)[-1]))
    return (counts[1] - counts[0]) / (MANY - FEW)


@contextmanager
def _ours(
    settings: Settings, behind: int, share: int, edit: Edit, folder: Path, counter: tuple[str, ...] = ()
) -> Iterator[Plain]:
    """Run deployer's rules as they are loaded, without what the edit takes out; both sides have an instance."""
    home, port = layout.Home(folder, folder / "haproxy.cfg"), free_port()
    files = configuration(home, port, {"sticky": settings.sticky, "retry": settings.retry})
    for path, text in files.others.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        layout.write(path, text)
    layout.write(home.keys, f"shop {new_key()}\n")
    layout.write(home.token, "preview\n")
    live = Live("blue", share, int(time.time()) + 3600, 1, 50)
    live_value.save(home.state, {"shop": live_value.encode(live)})
    server = f"  server one 127.0.0.1:{behind} check\n  server wait"
    text = edit(files.config).replace("date,add(60)", "int(0)").replace("  server wait", server)
    with awaited(settings.program, home.config, text, port, counter) as pid:
        yield Plain(port, pid)


@contextmanager
def _read(stream: Path | None) -> Iterator[None]:
    """Read the lines of the requests meanwhile, as a rollout does."""
    if stream is None:
        yield
        return
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(stream))
        connection.sendall(f"show events {frontend.RING} -w -n\n".encode())
        reader = threading.Thread(target=_drain, args=(connection,))
        reader.start()
        yield
        connection.shutdown(socket.SHUT_RDWR)
        reader.join()


def _drain(connection: socket.socket) -> None:
    while connection.recv(1 << 20):
        pass


def _ask(port: int, requests: int) -> None:
    """Ask on all connections at once, again and again."""
    with ExitStack() as stack:
        kept = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60)) for _ in range(FEW)]
        for _ in range(requests // FEW):
            for connection in kept:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: shop.example.com\r\ncookie: a=b\r\n\r\n")
            for connection in kept:
                answer = b""
                while not answer.endswith(b"hello"):
                    answer += (came := connection.recv(4096))
                    if not came or not answer.startswith(b"HTTP/1.1 200"):
                        raise SystemExit(f"the proxy responds {answer!r}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.proxy_parts")
    parser.add_argument("--retry", choices=("connections", "answers"), default="answers")
    parser.add_argument("--sticky", action="store_true", help="clients that get a side to keep")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--instructions", action="store_true", help="count instructions, by valgrind")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS), help="some of the parts")
    parser.add_argument("--haproxy", type=Path, default=None)
    said = parser.parse_args()
    settings = Settings(said.haproxy or binary.find().path, said.retry, said.sticky, said.only)
    main(settings, said.rounds, instructions=said.instructions)
