"""The whole of the crash suite: `python -m tests.crash [--ci] [--scenario WORDS]`.

Every scenario is killed at every instant and again at every instant of every resumption, disturbed at every call of its
drivers, and loses its lock between any two events. That takes hours; `--ci` tries what `scripts/test --full` does, and
prints the same figures. `--count` only counts the instants, and tries nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable

from tests.crash.explore import Explorer, Found
from tests.crash.planted import BUGS
from tests.crash.scenarios import SCENARIOS, Scenario
from tests.crash.stage import on_paper
from tests.crash.work import FULL, SEED, WHOLE, shared


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ci", action="store_true", help="as much as scripts/test --full tries")
    parser.add_argument("--count", action="store_true", help="count the instants, and try nothing")
    parser.add_argument("--scenario", default="", help="only scenarios that have this in their name")
    parser.add_argument("--seed", type=int, default=SEED, help="of what is drawn")
    given = parser.parse_args()
    chosen = [scenario for scenario in SCENARIOS if given.scenario in scenario.name]
    if given.count:
        return _count(chosen)
    pieces = [(kind, s.name) for s in chosen for kind in ("killed", "disturbed", "overtaken") if _has(kind, s)]
    bugs = [("planted", bug.name) for bug in BUGS] if not given.scenario else []
    with shared([*pieces, *bugs], FULL if given.ci else WHOLE, given.seed) as futures:
        found = [(piece[0], futures[piece].result()) for piece in pieces]
        reported = [bug for bug in bugs if _said(bug[1]) in "\n".join(futures[bug].result().wrong)]
    _tell(chosen, found)
    if bugs:
        print(f"planted bugs: {len(bugs)}, reported {len(reported)}")
    return int(any(piece.wrong for _, piece in found) or len(reported) < len(bugs))


def _has(kind: str, scenario: Scenario) -> bool:
    return kind != "overtaken" or scenario.ends != "down"  # `down` tells nothing, and has no rollout


def _said(name: str) -> str:
    return next(bug.said for bug in BUGS if bug.name == name)


def _count(scenarios: Iterable[Scenario]) -> int:
    instants: Counter[str] = Counter()
    moments: Counter[str] = Counter()
    for scenario in scenarios:
        with on_paper():
            explorer = Explorer(scenario)
        _tell_count(scenario.name, explorer.found.instants, len(explorer.moments))
        for what in (f"all of {scenario.what}, {scenario.ends}", "together"):
            instants[what] += explorer.found.instants
            moments[what] += len(explorer.moments)
    for what in sorted(instants):
        _tell_count(what, instants[what], moments[what])
    return 0


def _tell_count(what: str, instants: int, moments: int) -> None:
    print(f"{what:<45}{instants:>6} instants, {moments:>4} that differ")


def _tell(scenarios: list[Scenario], found: list[tuple[str, Found]]) -> None:
    totals: Counter[str] = Counter()
    for kind, piece in found:
        totals[kind] += piece.tried
        totals["instants"] += piece.instants if kind == "killed" else 0
        totals["single"] += piece.single
        totals["double"] += piece.double
        for wrong in piece.wrong:
            print(wrong)
    strategies, ends = {s.strategy for s in scenarios}, Counter(s.ends for s in scenarios)
    told = ", ".join(f"{ends[end]} {end}" for end in sorted(ends))
    print(f"{len(scenarios)} scenarios of {len(strategies)} strategies; they end: {told}")
    print(f"instants: {totals['instants']:,}, of which {totals['single']:,} differ and were died at")
    print(f"deaths: {totals['single']:,} single, {totals['double']:,} double")
    print(f"resumed, aborted or asked for again: {totals['killed']:,}")
    print(f"disturbed calls: {totals['disturbed']:,}; lost locks: {totals['overtaken']:,}")
    print(f"wrong: {sum(len(piece.wrong) for _, piece in found)}")


if __name__ == "__main__":
    sys.exit(main())
