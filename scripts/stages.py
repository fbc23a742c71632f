"""Runs the stages of the tests for scripts/test: those that compute beside those that wait.

When all that waits has ended, what is left to compute runs two at once: each of them has moments of one process only.
Each stage's output is kept until it has ended and then printed in one piece; meanwhile a line now and then tells how
far they are. A stage that has the terminal for itself prints as it goes. At the end failures of all stages are summed,
and tests that take long without the mark `long` (tests/tiers.py), or carry it without taking long, are named.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from xml.etree import ElementTree

REPOSITORY = Path(__file__).resolve().parents[1]
CORES = len(os.sched_getaffinity(0))
SCRIPTS = {"check": ["scripts/check", "--all"], "wheel": ["scripts/wheel"]}  # stages that are no folder of tests
COMPUTING = ("check", "unit", "golden", "histories", "fuzz", "simulation", "crash", "wheel")
IN_PARTS = ("unit", "golden", "histories")  # one core for a test: any test on any core
SPREAD = (
    "lab",
    "conformance",
    "browser",
    "acceptance",
    "live",
)  # they mostly wait, each for its own: any test anywhere
BY_FILE = ("machines",)  # the tests of a file share machines
WAITERS = 2 * CORES  # workers of what mostly waits
SHARED_WORK = ("simulation", "crash", "fuzz")  # what a test there takes depends on the others
GROUP = re.compile(r"@[^\]]*$")  # of tests that share a worker, at the end of their names in the report
NO_TESTS = 5  # pytest's exit code when none was selected
TOLD_EVERY = 60.0  # seconds
STOPPING = 60.0
BRIEF = 5.0  # a test that takes more carries the mark `long`
SHORT = 0.4 * BRIEF  # less than this with the mark is told, when everything was tried


@dataclass
class Run:
    """One run of pytest, or of a script, and what came of it."""

    stage: str
    name: str
    command: list[str]
    shared_work: bool = False
    selected: bool = False  # by arguments or by the tier, so that there may be nothing to run
    status: int | None = None
    began: float = 0.0
    seconds: float = 0.0

    @property
    def failed(self) -> bool:
        """Whether it went wrong; to be asked when it has ended."""
        return self.status != 0 and not (self.status == NO_TESTS and self.selected)


class Stages:
    """All runs, in lanes that run beside each other."""

    def __init__(self, work: Path, until: float, arguments: Sequence[str], *, full: bool) -> None:
        self.work, self.until, self.arguments, self.full = work, until, list(arguments), full
        self.lanes: list[list[Run]] = [[], []]  # what computes, what waits
        self.last: list[Run] = []  # what needs the machine for itself
        self._running: dict[int, tuple[Run, subprocess.Popen[bytes]]] = {}
        self._printing = threading.Lock()

    def add(self, stage: str) -> None:
        """Add a stage to the lane where it belongs."""
        lane = self.lanes[0 if stage in COMPUTING else 1]
        if stage in SCRIPTS:
            lane.append(Run(stage, stage, SCRIPTS[stage]))
        elif stage in (*SPREAD, *BY_FILE) and "--pdb" not in self.arguments:
            workers, way = (WAITERS, "loadgroup") if stage in SPREAD else (CORES + 1, "loadfile")
            spread = ("-n", str(workers), "--dist", way)
            lane.append(self._pytest(stage, stage, "-m", "not crowd", *spread))
            if _has_crowd(stage):
                self.last.append(self._pytest(stage, f"{stage}-crowd", "-m", "crowd"))
        elif stage in IN_PARTS and "--pdb" not in self.arguments:
            lane.append(self._pytest(stage, stage, "-n", str(CORES), "--dist", "worksteal"))
        else:
            lane.append(self._pytest(stage, stage))

    def _pytest(self, stage: str, name: str, *options: str) -> Run:
        report = (f"--junit-xml={self.work / name}.xml", "--durations=10", "--durations-min=10")
        command = [sys.executable, "-m", "pytest", f"tests/{stage}", *report, *options, *self.arguments]
        selected = bool(self.arguments) or not self.full
        return Run(stage, name, command, shared_work=stage in SHARED_WORK, selected=selected)

    # -- running

    def run(self) -> list[Run]:
        """Run all of them, and return them."""
        lanes = [lane for lane in self.lanes if lane]
        alone = sum(map(len, lanes)) + len(self.last) == 1 or "--pdb" in self.arguments
        if len(lanes) == 1 or alone:
            for run in (*lanes[0], *self.last):
                _heading(run.name)
                self._one(run, None, {})
            return [*lanes[0], *self.last]
        computing, waiting = map(iter, lanes)  # of lists: each run comes out once, whichever thread asks
        turns = (computing, itertools.chain(waiting, computing))
        threads = [threading.Thread(target=self._lane, args=(n, runs)) for n, runs in enumerate(turns)]
        for thread in threads:
            thread.start()
        try:
            while any(thread.is_alive() for thread in threads):
                threads[-1 if threads[-1].is_alive() else 0].join(TOLD_EVERY)
                self._tell()
        except KeyboardInterrupt:
            self.until = 0.0  # nothing more begins; the children were interrupted with this process
            for thread in threads:
                thread.join()
            raise
        for run in self.last:
            _heading(run.name)
            self._one(run, None, {})
        return [run for lane in (*lanes, self.last) for run in lane]

    def _lane(self, number: int, runs: Iterator[Run]) -> None:
        place = {"DEPLOYER_TEST_LANE": f"{number} 2"}
        for run in runs:
            with (self.work / f"{run.name}.log").open("w+b") as output:
                self._one(run, output, place, nice=run.stage in COMPUTING)
                with self._printing:
                    _heading(f"{run.name}: {'FAILED' if run.failed else 'passed'} in {_length(run.seconds)}")
                    output.seek(0)
                    sys.stdout.write(output.read().decode(errors="replace"))
                    sys.stdout.flush()

    def _one(self, run: Run, output: IO[bytes] | None, place: dict[str, str], *, nice: bool = False) -> None:
        """Carry out a run until its end, or until there is no time left."""
        run.began = time.monotonic()
        if run.began >= self.until:
            run.status = 1
            _say(f"{run.name}: no time was left")
            return
        # What computes gives way to what waits, or windows of time would be missed for want of a core.
        command = ["nice", "-n", "10", *run.command] if nice else run.command
        process = subprocess.Popen(
            command, cwd=REPOSITORY, stdout=output, stderr=output and subprocess.STDOUT, env={**os.environ, **place}
        )
        self._running[process.pid] = run, process
        try:
            run.status = self._ended(run, process)
        finally:
            del self._running[process.pid]
            run.seconds = time.monotonic() - run.began

    def _ended(self, run: Run, process: subprocess.Popen[bytes]) -> int:
        try:
            return process.wait(self.until - time.monotonic())
        except subprocess.TimeoutExpired:
            _say(f"{run.name}: stopped, the time is over")
        except KeyboardInterrupt:
            _say(f"{run.name}: interrupted")
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(STOPPING) or 1
        process.kill()
        return process.wait() or 1

    def _tell(self) -> None:
        """Print in one line how far the running stages are."""
        running = [run for run, _ in list(self._running.values())]
        told = [f"{run.name} {_percent(self.work / f'{run.name}.log')}".strip() for run in running]
        if told:
            with self._printing:
                _say(f"... {_length(time.monotonic() - min(run.began for run in running))}: {', '.join(told)}")


def _has_crowd(stage: str) -> bool:
    return any("mark.crowd" in file.read_text() for file in (REPOSITORY / "tests" / stage).rglob("test_*.py"))


def _percent(log: Path) -> str:
    """Return how far pytest says it is."""
    found = re.findall(rb"\[ *(\d+%)\]", log.read_bytes()[-4000:]) if log.exists() else []
    return found[-1].decode() if found else ""


def _heading(text: str) -> None:
    _say(f"\n== {text} ==")


def _say(text: str) -> None:
    sys.stdout.flush()
    print(text, file=sys.stderr, flush=True)


def _length(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


# -- what came of it


@dataclass(frozen=True)
class Case:
    """A test that ran, as pytest's report has it."""

    name: str
    seconds: float
    bad: bool
    skipped: bool
    long: bool


def cases(file: Path) -> Iterator[Case]:
    """Read the report of a run; an interrupted one has none."""
    if not file.exists():
        return
    for case in ElementTree.parse(file).iter("testcase"):
        yield Case(
            f"{case.get('classname', '').replace('.', '/')}.py::{GROUP.sub('', case.get('name', ''))}",
            float(case.get("time", "0")),
            any(case.find(kind) is not None for kind in ("failure", "error")),
            case.find("skipped") is not None,
            any(known.get("name") == "long" for known in case.iter("property")),
        )


def total(runs: Sequence[Run], work: Path, *, full: bool) -> int:
    """Print the sum of all runs; return the exit code."""
    _heading("total")
    found = {run.name: list(cases(work / f"{run.name}.xml")) for run in runs}
    for run in runs:
        tests = f"{len(found[run.name]):>6} tests" if found[run.name] else " " * 12
        print(f"{run.name:<16}{tests}{_length(run.seconds):>8}  {'FAILED' if run.failed else ''}".rstrip())
    ran = [case for of in found.values() for case in of]
    for case in ran:
        if case.bad:
            print(f"failed: {case.name}")
    marks([case for run in runs if not run.shared_work for case in found[run.name]], full=full)
    bad, skipped = sum(case.bad for case in ran), sum(case.skipped for case in ran)
    failed = [run.name for run in runs if run.failed]
    if any(run.stage not in SCRIPTS for run in runs):
        print(f"{len(ran) - bad - skipped} passed, {bad} failed, {skipped} skipped")
        if not ran:
            failed.append("no test was run")
    if failed:
        _say(f"failed: {', '.join(failed)}")
    sys.stdout.flush()
    return int(bool(failed))


def marks(ran: Sequence[Case], *, full: bool) -> None:
    """Name tests whose marks are not honest. It is no failure: a busy machine makes all of them slow."""
    slow = [case for case in ran if not case.long and case.seconds > BRIEF]
    for case in sorted(slow, key=lambda case: -case.seconds):
        print(f"without the mark `long`: {case.seconds:.0f} s for {case.name}")
    for case in ran:
        if full and case.long and not case.skipped and case.seconds < SHORT:
            print(f"marked `long` for nothing: {case.seconds:.1f} s for {case.name}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for reports")
    parser.add_argument("--seconds", type=float, required=True, help="after which everything is stopped")
    parser.add_argument("--full", action="store_true", help="everything is tried")
    parser.add_argument("--stage", action="append", default=[], help="which to run")
    parser.add_argument("arguments", nargs="*", help="for pytest")
    given = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's job in the background would ignore it
    stages = Stages(given.work, time.monotonic() + given.seconds, given.arguments, full=given.full)
    for stage in given.stage:
        stages.add(stage)
    try:
        return total(stages.run(), given.work, full=given.full)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
