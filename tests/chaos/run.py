"""A chaos run: deploys under load, one fault in each, and then whatever a person would type.

    python -m tests.chaos.run [--kills N] [--seed S] [--kind process|docker]

Each deploy has a number, and all that chance decides in it comes from seed and number: `--seed S --only N` plays that
one again. After each, the service has to be whole: one release for everyone, nothing unfinished, no problem that
`deploy status` sees, and no request lost but those on what was killed.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import docker

from tests.chaos.faults import FAULTS, LEASE, Gone, Scar
from tests.live.shop import Kind, Shop
from tests.load import Load, Options
from tests.load.request import Request

LOAD = Options(rate=50, kinds=("fresh", "busy", "sticky", "post"))
LONGEST = 4.0  # seconds into a command at which the fault comes, at the latest
END_WITHIN = 90.0
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
    ends: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    scarred: int = 0  # lost on what was killed
    lost: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def text(self) -> str:
        hit = ", ".join(f"{name} {count}" for name, count in sorted(self.faults.items()))
        ends = ", ".join(f"{name} {count}" for name, count in sorted(self.ends.items()))
        return "\n".join(
            [
                f"{sum(self.faults.values())} faults: {hit or 'none'}",
                f"ended by: {ends or 'nothing'}",
                f"{self.requests} requests, {self.scarred} lost on what was killed, {len(self.lost)} lost otherwise",
                *(f"  {line}" for line in (*self.lost, *self.broken)),
            ]
        )


class Chaos:
    """Deploys of one service, one after the other."""

    def __init__(self, shop: Shop, seed: int) -> None:
        self.shop, self.seed = shop, seed
        self.tally = Tally()

    def begin(self) -> None:
        """Bring the first release."""
        self.shop.manifest["traffic"]["lease"] = f"{LEASE:g}s"
        self.shop.manifest["judge"] = {"requests": 1}
        self.shop.write()
        self.shop.version("1.0")
        self.shop.deploy("up", "--version", "1.0")

    def one(self, number: int) -> None:
        """Deploy, let one thing go wrong, end it, and see that all is well."""
        chance = random.Random(f"{self.seed}:{number}")
        name = chance.choices(list(FAULTS), [weight for weight, _ in FAULTS.values()])[0]
        command, end = chance.choice(COMMANDS), chance.choice(ENDS)
        wait = chance.uniform(0.0, LONGEST)
        self.shop.version(f"2.{number}")
        scars: tuple[Scar, ...] = ()
        with Load(self.shop.url, LOAD) as load, self.shop.start(*command, "--version", f"2.{number}") as tool:
            _sleep(tool, wait)
            try:
                scars = FAULTS[name][1](self.shop, tool, chance)
                self.tally.faults[name] += 1
            except Gone:
                self.tally.faults[f"too late: {name}"] += 1
            _ended(tool)
            self._whole(number, end, f"{number}: {' '.join(command)}, {name} after {wait:.2f} s, {end}")
            report = load.stop()
        self.tally.requests += report.sent
        for failure in report.failures:
            if _covered(failure, scars):
                self.tally.scarred += 1
            else:
                self.tally.lost.append(f"{number} ({name} after {wait:.2f} s, {command[0]}): {failure}")

    def _whole(self, number: int, end: str, what: str) -> None:
        """End what is unfinished as a person would, and look whether everything is as it should be."""
        status = self.shop.status()
        if status["rollout"]:
            self._type(end, what)
            status = self.shop.status()
        if status["rollout"]:
            self.tally.ends["resume"] += 1
            self._type("resume", what)
            status = self.shop.status()
        if status["problems"]:  # an instance that was killed may be missing: the manifest's state is asserted
            self._type("up", what, "--version", status["stable_version"])
            status = self.shop.status()
        wrong = [*status["problems"], *(["unfinished"] if status["rollout"] else []), *_shared(status)]
        versions = {self.shop.get().headers.get("X-Version") for _ in range(5)}
        if versions != {status["stable_version"]}:
            wrong.append(f"users get {versions}, stable is {status['stable_version']}")
        if wrong:
            self.tally.broken.append(f"{what}: {'; '.join(map(str, wrong))}")

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
        if done.returncode == 1 or "Traceback" in done.stderr:
            self.tally.broken.append(f"{what}: deploy {command}: exit {done.returncode}: {done.stderr[-500:]}")


def _shared(status: dict[str, object]) -> list[str]:
    return [f"a share of {status['share']} is left"] if status["share"] else []


def _sleep(tool: subprocess.Popen[str], seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and tool.poll() is None:
        time.sleep(0.01)


def _ended(tool: subprocess.Popen[str]) -> None:
    """Let a command end that was not killed; what it prints must not fill the pipe meanwhile."""
    if tool.poll() is None:
        tool.communicate(timeout=END_WITHIN)


def _covered(failure: Request, scars: Iterable[Scar]) -> bool:
    """Tell whether a request was on what was killed: it was under way then, or came before it was replaced."""
    return any(failure.end >= scar.since and failure.start <= scar.until for scar in scars)


def run(kind: Kind, numbers: Sequence[int], seed: int, folder: Path, client: docker.DockerClient | None) -> Tally:
    """Make a service, deploy it so many times, take it down."""
    shop = Shop(folder, kind, client)
    shop.program = "c"
    chaos = Chaos(shop, seed)
    try:
        chaos.begin()
        for number in numbers:
            chaos.one(number)
    finally:
        shop.close()
    return chaos.tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="deploys with a fault each (200)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--kind", choices=("process", "docker"), default="process")
    parser.add_argument("--only", type=int, help="this one alone")
    given = parser.parse_args()
    numbers = [given.only] if given.only is not None else range(given.kills)
    print(f"seed {given.seed}", flush=True)
    client = docker.from_env() if given.kind == "docker" else None
    with tempfile.TemporaryDirectory(prefix="dpchaos", dir="/tmp") as folder:  # short: sockets lie in it
        tally = run(given.kind, numbers, given.seed, Path(folder), client)
    print(tally.text())
    return int(bool(tally.lost or tally.broken))


if __name__ == "__main__":
    sys.exit(main())
