"""Judges of canaries side by side: false aborts, detections, and what users got until then.

    python -m bench.judges [--rollouts 20] [--seed 1] [--workers 2] [--only SCENARIO …] [--markdown | --json]
    python -m bench.judges --recording FILE …

Every judge sees the same streams. `docs/benchmarks.md` says what the columns mean and what the peers are.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path

from bench.match import FIELD, Outcome, compete, rollout
from bench.playback import playback
from bench.scenarios import SCENARIOS
from bench.table import Row, summed_up, written
from deployer.core.errors import Refused

_APART = 1_000_003  # seeds of two scenarios do not meet


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark and print its table."""
    options = _parser().parse_args(arguments)
    began = time.monotonic()
    try:
        rows = _recorded(options.recording) if options.recording else _made_up(options)
    except Refused as error:
        print(error, file=sys.stderr)
        return 2
    if options.json:
        json.dump([asdict(row) for row in rows], sys.stdout, indent=1)
        print()
    else:
        print(written(rows, markdown=options.markdown))
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.judges", description="Judges of canaries side by side.")
    parser.add_argument("--rollouts", type=int, default=20, metavar="N", help="rollouts of each scenario (20)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="the same seed plays the same streams (1)")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="processes (2)")
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, metavar="SCENARIO", help=", ".join(SCENARIOS))
    parser.add_argument("--recording", nargs="+", type=Path, metavar="FILE", help="play these recordings instead")
    style = parser.add_mutually_exclusive_group()
    style.add_argument("--markdown", action="store_true", help="print a table for the documents")
    style.add_argument("--json", action="store_true", help="print the numbers")
    return parser


def _made_up(options: argparse.Namespace) -> list[Row]:
    names = options.only or list(SCENARIOS)
    places = {name: place for place, name in enumerate(SCENARIOS)}
    jobs = [(name, options.seed + _APART * places[name] + n) for n in range(options.rollouts) for name in names]
    with ProcessPoolExecutor(options.workers) as pool:
        results = list(pool.map(rollout, jobs, chunksize=4))
    found: dict[str, list[Outcome]] = defaultdict(list)
    for name, outcomes in results:
        found[name] += outcomes
    return [row for name in names for row in _rows(name, found[name])]


def _recorded(files: Iterable[Path]) -> list[Row]:
    rows = []
    for file in files:
        ticks, sticky = playback(file)
        rows += _rows(file.name, compete(ticks, sticky=sticky))
    return rows


def _rows(scenario: str, outcomes: list[Outcome]) -> list[Row]:
    return [summed_up(scenario, judge, [o for o in outcomes if o.judge == judge]) for judge in FIELD]


if __name__ == "__main__":
    sys.exit(main())
