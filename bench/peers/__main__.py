"""The turns of all contenders, and the table; see the package."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.peers.contenders import CONTENDERS, TRIED, Contender, InSwarm, Swarm, answers, until
from bench.peers.ground import apart, engine
from tests.lab import image
from tests.load import Load, Options

RESULTS = Path(__file__).parents[1] / "results" / "peers.json"
USERS = Options(rate=60, kinds=("fresh", "busy", "sticky"))
AFTER = 2.0  # seconds that users go on when the command has ended: what it broke shows later, too
Row = dict[str, float | str]


def change(contender: Contender, what: str, do: Callable[[], None], old: str, new: str) -> Row:
    """Have a contender change the version under load; return what that took, and what users lost by it."""
    until(lambda: answers(contender.url, old), f"{contender.name} serves version {old}")
    with Load(contender.url, USERS) as load:
        load.until(lambda now: now.answered > 60, "the load runs")
        began = time.time()
        do()
        wall = time.time() - began
        answered = load.counters().answered
        load.until(lambda now: now.answered > answered + USERS.rate * AFTER, "users afterwards")
        report = load.stop()
    seen = report.seen
    contender.settle()
    return {
        "contender": contender.name,
        "what": what,
        "seconds": wall,
        "old gone": seen[old][1] - began,
        "new came": seen[new][0] - began,
        "sent": report.sent,
        "lost": report.failed,
        "slowest": report.latency().max,
        "load average": os.getloadavg()[0],
    }


def run(folder: Path, rounds: int, names: Sequence[str]) -> list[Row]:
    rows: list[Row] = []
    with ExitStack() as undo:
        client = undo.enter_context(engine(folder))
        images = ("peers:1", "peers:2", "peers:3")
        for version, reference in zip(("1", "2", "3"), images, strict=True):
            env = {"DRAIN": "2000", **({"ERR": "0.2"} if version == "3" else {})}
            image.build(reference, version=version, env=env, health=True, client=client)
        contenders = []
        for n, kind in enumerate(CONTENDERS):
            if not names or kind.name in names:
                contenders.append(kind(folder / f"c{n}", client, images))
                undo.callback(contenders[-1].close)
                contenders[-1].begin()
        for number in range(rounds):
            for contender in contenders:
                for what, do, old, new in (
                    ("deploy", contender.deploy, "1", "2"),
                    ("rollback", contender.rollback, "2", "1"),
                ):
                    rows.append({**change(contender, what, do, old, new), "round": number})
                    print(json.dumps(rows[-1]), file=sys.stderr)
                if isinstance(contender, TRIED):
                    rows.append({**bad(contender), "round": number})
                    print(json.dumps(rows[-1]), file=sys.stderr)
    return rows


def bad(contender: Swarm | InSwarm) -> Row:
    """Bring a release that fails 20% of its requests; somebody who finds it live after that rolls it back at once."""
    until(lambda: answers(contender.url, "1"), f"{contender.name} serves version 1")
    with Load(contender.url, USERS) as load:
        load.until(lambda now: now.answered > 60, "the load runs")
        began = time.time()
        contender.deploy_bad()
        wall = time.time() - began
        answered = load.counters().answered
        load.until(lambda now: now.answered > answered + USERS.rate * AFTER, "users of what is live now")
        last = {version: end for version, (_, end) in load.report().seen.items()}
        live = last.get("3", 0.0) > last["1"]
        if live:
            contender.rollback()
        answered = load.counters().answered
        load.until(lambda now: now.answered > answered + USERS.rate * AFTER, "users afterwards")
        whole = load.stop()
    contender.settle()
    seen = whole.seen.get("3")
    return {
        "contender": contender.name,
        "what": "fails 20%",
        "live": float(live),
        "seconds": wall,
        "old gone": seen[1] - began if seen else 0.0,
        "sent": whole.sent,
        "lost": whole.failed,
        "load average": os.getloadavg()[0],
    }


def spread(rows: Sequence[Row], key: str) -> str:
    values = sorted(float(row[key]) for row in rows)
    return f"{statistics.median(values):5.1f} ({values[0]:.1f}-{values[-1]:.1f})"


def report(rows: Sequence[Row]) -> None:
    print(f"{'':24}{'':10}{'seconds':>19}{'old version gone':>19}{'lost of requests':>20}")
    for name in dict.fromkeys(str(row["contender"]) for row in rows):
        for what in ("deploy", "rollback", "fails 20%"):
            own = [row for row in rows if row["contender"] == name and row["what"] == what]
            if not own:
                continue
            lost, sent = (sum(int(row[key]) for row in own) for key in ("lost", "sent"))
            times = f"{spread(own, 'seconds'):>19}{spread(own, 'old gone'):>19}"
            print(f"{name:24}{what:10}{times}{f'{lost} of {sent:,}':>20}")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(list(rows), indent=1) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description="deployer beside its peers, under load")
    parser.add_argument("rounds", nargs="?", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=[], choices=[kind.name for kind in CONTENDERS], metavar="NAME")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside is None:
        return apart("bench.peers", sys.argv[1:])
    report(run(given.inside, given.rounds, given.only))
    return 0


if __name__ == "__main__":
    sys.exit(main())
