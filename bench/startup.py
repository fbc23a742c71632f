"""How long commands take that people and completion scripts wait for.

    python -m bench.startup [ROUNDS]

In each round every command runs once, beside a bare `python -c pass`; `deploy status` looks at one service on runtime
`process` behind an HAProxy of our own. `sh FILE` is a bundle that carries the tool, which is unpacked by then; its
budget is that of an installed one and 500 ms. Printed are medians and 90th percentiles of wall and of processor time,
and the ratio to the bare start of the same round; beside it, what it may be: the budget in milliseconds on two quiet
cores, and the same as a ratio (a bare start took 13 ms there), which holds on any machine. Results go to
bench/results/startup.json.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.live.shop import DEPLOY, Shop

RESULTS = Path(__file__).parent / "results" / "startup.json"
BARE = "python -c pass"
BARE_MS = 13.0  # what a bare start took where the budgets were set
BUDGETS = {"deploy --version": 80.0, "deploy --help": 80.0, "deploy status": 200.0, "deploy rollback": 250.0}  # ms
BUNDLE = "sh FILE --version"
BUDGETS[BUNDLE] = BUDGETS["deploy --version"] + 500


def timed(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> tuple[float, float]:
    """Run a command; return wall and processor time in milliseconds."""
    before, began = os.times(), time.monotonic()
    subprocess.run(command, cwd=folder, env=dict(environment), check=True, capture_output=True)
    wall, after = time.monotonic() - began, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return wall * 1000, cpu * 1000


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="dpbench", dir="/tmp") as folder:  # short: sockets lie in it
        shop = Shop(Path(folder), "process", None)
        shop.program = "c"
        asked = {
            **shop.environment(),
            "_DEPLOY_COMPLETE": "bash_complete",
            "COMP_WORDS": "deploy ro",
            "COMP_CWORD": "1",
        }
        headed = {**shop.environment(), "PYTHON": os.path.realpath(sys.executable), "XDG_DATA_HOME": folder}
        commands: dict[str, tuple[list[str], dict[str, str]]] = {
            BARE: ([sys.executable, "-c", "pass"], shop.environment()),
            "deploy --version": ([DEPLOY, "--version"], shop.environment()),
            "deploy --help": ([DEPLOY, "--help"], shop.environment()),
            BUNDLE: (["sh", "1.bundle", "--version"], headed),
            "completion of a word": ([DEPLOY], asked),
            "deploy status": (shop.command("status"), shop.environment()),
            "deploy rollback": (shop.command("rollback", "--again"), shop.environment()),
        }
        try:
            shop.live("1.0")
            shop.live("2.0")
            shop.deploy("bundle", "make", "-o", "1.bundle", "--version", "1.0", "--with", "deployer")
            first, _ = timed(*commands[BUNDLE], shop.folder)
            print(f"first start from a bundle, which unpacks the tool: {first:.0f} ms\n")
            rows = []
            for number in range(rounds):
                rows.append({name: timed(*command, shop.folder) for name, command in commands.items()})
                shop.live(f"3.{number}")  # so that the next round has something to roll back
        finally:
            shop.close()
    report(rows)


def report(rows: Sequence[Mapping[str, tuple[float, float]]]) -> None:
    heads = f"{'':24}{'wall':>8}{'90 %':>8}{'processor':>11}{'× bare python':>15}{'budget':>8}{'×':>7}"
    print(f"{len(rows)} rounds; milliseconds\n\n{heads}")
    for name in rows[0]:
        wall = sorted(row[name][0] for row in rows)
        cpu = statistics.median(row[name][1] for row in rows)
        ratio = statistics.median(row[name][0] / row[BARE][0] for row in rows)
        budget = f"{BUDGETS[name]:8.0f}{BUDGETS[name] / BARE_MS:7.1f}" if name in BUDGETS else ""
        figures = f"{statistics.median(wall):8.0f}{wall[int(len(wall) * 0.9)]:8.0f}{cpu:11.0f}{ratio:15.2f}"
        print(f"{name:24}{figures}{budget}")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
