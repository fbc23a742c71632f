"""Eight services that sleep, those who come to them, and what is killed meanwhile; see the package."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path

import docker
import h2.exceptions

from bench.wakes.visits import Kill, Try, Visit, account, parts, text
from deployer import supervisor
from deployer.app.local import LocalApp, at
from deployer.core.clock import SystemClock
from deployer.drivers.sleeping import LocalSleeper
from tests.live.shop import Shop
from tests.live.sleepers import of_grpc, sleepy
from tests.live.visitors import ComeAgain, Use, call, get, post, talk
from tests.load.wire import Lost
from tests.waiting import within

RESULTS = Path(__file__).parents[1] / "results" / "wakes.json"
USES: dict[str, Use] = {"GET": get, "POST 1 MB": post, "WebSocket": talk, "gRPC": call}
SLEEPS = ("stop", "pause")
ASLEEP_WITHIN = 180.0  # seconds, while others sleep and wake, and keepers are killed
ANSWERED_WITHIN = 120.0
AGAIN = 0.5  # seconds until somebody who was not answered comes again
KILL_WITHIN = 0.15  # seconds after somebody has come
FAILURES = (AssertionError, OSError, Lost, h2.exceptions.ProtocolError)


class Keeper:
    """`deploy keep`, and another one when it was killed."""

    def __init__(self, shop: Shop) -> None:
        self._shop, self._log = shop, shop.folder / "keep.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._shop.command("keep"),
                cwd=self._shop.folder,
                env=self._shop.environment(),
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(30)


class Killer:
    """Kills something with every Nth visit, by turns, before it or in its beginning."""

    def __init__(self, state: Path, keeper: Keeper, every: int) -> None:
        self._state, self._keeper, self._every = state, keeper, every
        self._visits, self._lock = itertools.count(1), threading.Lock()
        self._turns = itertools.cycle(itertools.product(("keeper", "waker", "waker, all of it"), (True, False)))
        self.kills: list[Kill] = []

    def visit(self) -> threading.Thread | None:
        """Know of a visit that begins now; return what goes on beside it."""
        with self._lock:
            if not self._every or next(self._visits) % self._every:
                return None
            what, before = next(self._turns)
        if before:
            self._kill(what)
            return None
        beside = threading.Timer(random.uniform(0, KILL_WITHIN), self._kill, (what,))
        beside.start()
        return beside

    def _kill(self, what: str) -> None:
        with self._lock:
            if what == "keeper":
                self.kills.append(Kill(what, time.time()))
                self._keeper.kill()
                self._keeper.start()
            elif (status := supervisor.read_status(self._state / "proxy" / "waker")) is not None:
                whole = what != "waker"
                pids = [*(_children(status.pid) if whole else ()), status.pid]
                self.kills.append(Kill(what, time.time(), whole))
                for pid in pids:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)


def _children(pid: int) -> list[int]:
    with suppress(FileNotFoundError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


class Lane:
    """One service, and those who come to it, one after the other."""

    def __init__(self, shop: Shop, sleep: str, kind: str, killer: Killer) -> None:
        self._shop, self._sleep, self._kind, self._killer = shop, sleep, kind, killer
        self._sleeper = LocalSleeper(shop.state, SystemClock())

    def visits(self, wakes: int) -> Iterator[Visit]:
        """Have it sleep and wake so often."""
        with LocalApp(at(self._shop.state)) as app:
            store, name, visits, done = app.context.store, self._shop.name, 0, 0

            def asleep() -> bool:
                return bool(self._sleeper.asleep(name)) and store.rollouts.in_progress(name) is None

            while done < wakes and visits < 2 * wakes:  # of a start whose waker was killed nothing may be recorded
                within(ASLEEP_WITHIN).until(asleep, f"{name} does not sleep", every=0.1)
                before = [wake.at for wake in self._sleeper.wakes(name)]
                beside = self._killer.visit()
                tries = tuple(self._tries())
                if beside is not None:
                    beside.join()
                visit = Visit(
                    self._kind,
                    self._sleep,
                    tries,
                    tuple(wake for wake in self._sleeper.wakes(name) if wake.at not in before),
                )
                yield visit
                visits, done = visits + 1, done + any(not wake.error for wake in visit.wakes)
                if not visit.answered:
                    return

    def _tries(self) -> Iterator[Try]:
        end = time.time() + ANSWERED_WITHIN
        while True:
            made = self._try()
            yield made
            if not made.failure or time.time() > end:
                return
            threading.Event().wait(AGAIN)

    def _try(self) -> Try:
        began = time.time()
        try:
            USES[self._kind](self._shop)
        except ComeAgain as refused:
            return Try(began, time.time(), str(refused), come_again=True)
        except FAILURES as failed:
            return Try(began, time.time(), f"{type(failed).__name__}: {failed}"[:300])
        return Try(began, time.time())


def services(folder: Path, client: docker.DockerClient | None, undo: ExitStack) -> Iterator[tuple[Shop, str, str]]:
    """Bring out a service for each sleep and kind, all in one state folder."""
    numbers = itertools.count()

    def make(kind: str) -> Shop:
        own = folder / f"s{next(numbers)}"
        own.mkdir()
        shop = Shop(own, "docker" if kind == "docker" else "process", client if kind == "docker" else None)
        shop.state = folder / "state"
        shop.manifest["health"]["deadline"] = "60s"  # of eight that start at once on a busy host
        undo.callback(shop.close)
        return shop

    for sleep, kind in itertools.product(SLEEPS, USES):
        if kind == "gRPC":
            yield of_grpc(make, sleep=sleep, idle="1s"), sleep, kind
        else:
            yield sleepy(make, "docker" if client else "process", sleep=sleep), sleep, kind


def run(wakes: int, client: docker.DockerClient | None, every: int) -> tuple[list[Visit], list[Kill]]:
    """Have all services sleep and wake, so often together."""
    visits: list[Visit] = []
    with ExitStack() as undo:
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="dpwakes", dir="/tmp")))
        made = list(services(folder, client, undo))
        keeper = Keeper(made[0][0])
        keeper.start()
        undo.callback(keeper.kill)
        killer = Killer(folder / "state", keeper, every)
        each = -(-wakes // len(made))

        def go(lane: Lane) -> None:
            for visit in lane.visits(each):
                visits.append(visit)
                if len(visits) % 50 == 0:
                    print(f"{time.strftime('%H:%M:%S')} {len(visits)} visits", file=sys.stderr)

        with ThreadPoolExecutor(len(made)) as pool:
            list(pool.map(go, [Lane(*one, killer) for one in made]))
    return visits, killer.kills


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.wakes", description="sleeps and wakes by the hundred")
    parser.add_argument("wakes", nargs="?", type=int, default=1000)
    parser.add_argument("--docker", action="store_true", help="in containers, all but gRPC")
    parser.add_argument("--every", type=int, default=20, help="visits between two kills; 0: none (%(default)d)")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # everything is taken down then, too
    began = time.monotonic()
    visits, kills = run(given.wakes, docker.from_env() if given.docker else None, given.every)
    found, rows = account(visits, kills), list(parts(visits, kills))
    print(text(found, rows, kills))
    print(f"{time.monotonic() - began:.0f} s, load average {os.getloadavg()[2]:.1f}")
    RESULTS.parent.mkdir(exist_ok=True)
    told = {"wakes": found.wakes, "lost": found.lost, "come again": found.come_again, "cut": found.cut}
    told |= {"refused for": found.refused_for, "kills": [asdict(kill) for kill in kills]}
    told |= {"failed starts": found.failed_starts, "parts": [row.record() for row in rows]}
    RESULTS.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return 1 if found.lost or found.failed_starts or found.wakes < given.wakes else 0


if __name__ == "__main__":
    sys.exit(main())
