"""A chaos run: deploys under load, one fault in each, and then whatever a person would type.

    python -m tests.chaos.run [--kills N] [--seed S] [--kind process|docker]

Each deploy has a number, and all that chance decides in it comes from seed and number: `--seed S --only N` plays that
one again; `--fault engine` tries only faults with this word. After each, the service has to be whole: one release for
everyone, nothing unfinished, no problem that `deploy status` sees, and no request lost but those on what was killed.

It needs root: the run has a network, a disk and, for `--kind docker`, a Docker engine of its own. `--plain-engine` is
one without `live-restore` and with Docker's own proxy for ports, as it comes: what it costs users to lose that one.
"""

from __future__ import annotations

import argparse
import itertools
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.faults import FAULTS, LEASE, Gone, Scar, Scene
from tests.chaos.machine import Machine, enter
from tests.live.shop import Shop
from tests.load import Load, Options
from tests.load.request import Request

LOAD = Options(rate=50, kinds=("fresh", "busy", "sticky", "post"))
LONGEST = 4.0  # seconds into a command at which the fault comes, at the latest
END_WITHIN = 300.0  # seconds
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("canary", "--percent", "20", "--for", "1s"),
    ("bluegreen", "--bake", "1s"),
    ("rolling",),
)
ENDS = ("resume", "abort", "rollback", "promote")


@dataclass
class Tally:
    """What happened in a run."""

    faults: Counter[str] = field(default_factory=Counter)
    missed: int = 0  # faults that came when there was nothing to hit any more
    ends: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    scarred: Counter[str] = field(default_factory=Counter)  # lost on what was killed, by what that was
    lost: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def text(self) -> str:
        hit = ", ".join(f"{name} {count}" for name, count in sorted(self.faults.items()))
        ends = ", ".join(f"{name} {count}" for name, count in sorted(self.ends.items()))
        return "\n".join(
            [
                f"{self.faults.total()} faults: {hit or 'none'}; {self.missed} more hit nothing",
                f"ended by: {ends or 'nothing'}",
                f"{self.requests} requests, {self.scarred.total()} lost on what was killed, "
                f"{len(self.lost)} lost otherwise",
                *(f"  {count} lost: {why}" for why, count in sorted(self.scarred.items())),
                *(f"  {line}" for line in (*self.lost, *self.broken)),
            ]
        )


class Chaos:
    """Deploys of one service, one after the other."""

    def __init__(self, shop: Shop, machine: Machine, given: argparse.Namespace) -> None:
        self.shop, self.machine, self.given = shop, machine, given
        self.faults = {n: fault for n, fault in FAULTS.items() if shop.kind in fault.kinds and given.fault in n}
        self.stable = "1.0"  # what users were on last
        self.tally = Tally()

    def begin(self) -> None:
        """Bring the first release."""
        self.shop.environ = self.machine.environment()
        self.shop.manifest["traffic"]["lease"] = f"{LEASE:g}s"
        self.shop.manifest["judge"] = {"requests": 1}
        self.shop.write()
        self.shop.version("1.0")
        self.shop.deploy("up", "--version", "1.0")

    def one(self, number: int) -> None:
        """Deploy, let one thing go wrong, end it, and see that all is well."""
        chance = random.Random(f"{self.given.seed}:{number}")
        name = chance.choices(list(self.faults), [fault.weight for fault in self.faults.values()])[0]
        command, end = chance.choice(COMMANDS), chance.choice(ENDS)
        wait = chance.uniform(0.0, LONGEST)
        what = f"{number}: {' '.join(command)}, {name} after {wait:.2f} s, {end}"
        self.shop.version(f"2.{number}")
        began = time.monotonic()
        with Load(self.shop.url, LOAD) as load, self.shop.start(*command, "--version", f"2.{number}") as tool:
            _sleep(tool, wait)
            scars = self._hit(name, Scene(self.shop, self.machine, tool), chance)
            self._ended(tool, what)
            self._whole(end, what)
            report = load.stop()
        self.tally.requests += report.sent
        for failure in report.failures:
            if why := _scar(failure, scars):
                self.tally.scarred[why] += 1
            else:
                self.tally.lost.append(f"{what}: {failure}")
        print(f"{what}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)

    def _hit(self, name: str, scene: Scene, chance: random.Random) -> tuple[Scar, ...]:
        try:
            scars = self.faults[name].act(scene, chance)
        except Gone:
            self.tally.missed += 1
            return ()
        self.tally.faults[name] += 1
        return () if self.given.planted else scars

    def _ended(self, tool: subprocess.Popen[str], what: str) -> None:
        """Let a command end that was not killed; what it prints must not fill the pipe meanwhile."""
        _, said = tool.communicate(timeout=END_WITHIN)
        if tool.returncode == 1 or "Traceback" in said:
            self.tally.broken.append(f"{what}: the command itself: exit {tool.returncode}: {said[-1500:]}")

    def _whole(self, end: str, what: str) -> None:
        """End what is in progress as a person would, and look whether everything is as it should be."""
        status = self.shop.status()
        if status["rollout"]:
            self._type(end, what)
            status = self.shop.status()
        if status["rollout"]:
            self.tally.ends["resume"] += 1
            self._type("resume", what)
            status = self.shop.status()
        if status["problems"]:  # an instance that was killed may be missing: the manifest's state is asserted
            self._type("up", what, "--version", status["stable_version"] or self.stable)
            status = self.shop.status()
        wrong = [*status["problems"], *(["unfinished"] if status["rollout"] else []), *_shared(status)]
        versions = {self.shop.get().headers.get("X-Version") for _ in range(5)}
        if versions != {status["stable_version"]}:
            wrong.append(f"users get {versions}, stable is {status['stable_version']}")
        if wrong:
            self.tally.broken.append(f"{what}: {'; '.join(map(str, wrong))}")
        self.stable = status["stable_version"]

    def _type(self, command: str, what: str, *arguments: str) -> None:
        self.tally.ends[command] += 1
        done = subprocess.run(
            self.shop.command(command, *arguments),
            cwd=self.shop.folder,
            env=self.shop.environment(),
            capture_output=True,
            text=True,
            timeout=END_WITHIN,
            check=False,
        )
        refused = command == "up" and done.returncode == 2  # to promote what is rolling back is refused as well
        if done.returncode == 1 or refused or "Traceback" in done.stderr:
            self.tally.broken.append(f"{what}: deploy {command}: exit {done.returncode}: {done.stderr[-500:]}")


def _shared(status: dict[str, object]) -> list[str]:
    return [f"a share of {status['share']} is left"] if status["share"] else []


def _sleep(tool: subprocess.Popen[str], seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and tool.poll() is None:
        time.sleep(0.01)


def _scar(failure: Request, scars: Iterable[Scar]) -> str:
    """Return the fault by which a request was lost: it was on what was killed, or came before that was replaced."""
    return next((s.why for s in scars if failure.end >= s.since and failure.start <= s.until), "")


def run(given: argparse.Namespace, folder: Path) -> Tally:
    """Make a service, deploy it until so much has gone wrong, take it down."""
    machine = Machine(folder, engine=given.kind == "docker", plain=given.plain_engine)
    try:
        shop = Shop(folder, given.kind, machine.engine.client if machine.engine else None)
        shop.program = "c"
        chaos = Chaos(shop, machine, given)
        try:
            chaos.begin()
            for number in itertools.count() if given.only is None else (given.only,):
                chaos.one(number)
                if chaos.tally.faults.total() >= given.kills:
                    break
        finally:
            shop.close()
    finally:
        machine.close()
    return chaos.tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="how often something goes wrong (200)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--kind", choices=("process", "docker"), default="process")
    parser.add_argument("--only", type=int, help="the deploy of this number alone")
    parser.add_argument("--fault", default="", help="only faults that have this in their name")
    parser.add_argument("--planted", action="store_true", help="no fault may cost a request: the run has to fail")
    parser.add_argument("--plain-engine", action="store_true", help="a Docker engine with its own defaults")
    given = parser.parse_args()
    enter()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is taken down all the same
    print(f"seed {given.seed}, kind {given.kind}", flush=True)
    with tempfile.TemporaryDirectory(prefix="dpchaos", dir="/tmp") as folder:  # short: sockets lie in it
        tally = run(given, Path(folder))
    print(tally.text())
    return int(bool(tally.lost or tally.broken))


if __name__ == "__main__":
    sys.exit(main())
