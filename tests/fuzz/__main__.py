"""`scripts/fuzz`: run inputs across all targets, print what each saw, and how to see a finding again."""

from __future__ import annotations

import argparse
import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz import target
from tests.fuzz.target import REPOSITORY, Target

RUNS = 1_000_000
MEMORY = 700  # MiB that a target may use; its modules take about 150 of them
MOST_AGAIN = 2
MOST_FINDINGS = 10  # of one target; then it has had its chance
_DONE = re.compile(r"stat::number_of_executed_units:\s*(\d+)")


@dataclass
class Result:
    """What became of one target."""

    name: str
    runs: int = 0
    seconds: float = 0.0
    findings: list[str] = field(default_factory=list)
    notes: str = ""


def main() -> int:
    options = _options()
    if options.replay:
        return _replay(options.target[0], Path(options.replay))
    names = options.target or list(target.names())
    unknown = set(names) - set(target.names())
    if unknown:
        sys.exit(f"there is no target {', '.join(sorted(unknown))}; there are {', '.join(target.names())}")
    wanted = [target.load(name) for name in names]
    whole = sum(t.weight for t in wanted)
    shares = {t.name: max(1, options.runs * t.weight // whole) for t in wanted}
    print(f"{options.runs:,} inputs, seed {options.seed}", flush=True)
    findings = Path(options.findings).absolute()
    findings.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(options.jobs) as pool:
        results = []
        for result in pool.map(lambda t: _fuzzed(t, shares[t.name], options.seed, findings), wanted):
            print(_line(result), flush=True)
            results.append(result)
    return _total(results, options.seed)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help=f"inputs of all targets together ({RUNS:,})")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31) + 1, help="repeats a run")
    parser.add_argument("--target", action="append", default=[], help="only this one; may be given several times")
    parser.add_argument("--jobs", type=int, default=1, help="targets at the same time (1)")
    parser.add_argument("--findings", default="findings", help="folder for inputs that failed (findings)")
    parser.add_argument("--replay", metavar="FILE", help="run one input of --target again, and show the trace")
    options = parser.parse_args()
    if options.replay and len(options.target) != 1:
        parser.error("--replay needs the one --target that the input is for")
    return options


def _replay(name: str, file: Path) -> int:
    wanted = target.load(name)
    wanted.check(file.read_bytes())
    wanted.finish()
    print(f"{name}: {file} passes")
    return 0


def _fuzzed(wanted: Target, runs: int, seed: int, findings: Path) -> Result:
    """Run a target; after a finding go on with the next seed until the inputs are spent."""
    result, began = Result(wanted.name), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="dpfuzz", dir="/tmp") as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        known = 0  # how often only what was found before was found again
        for attempt in range(MOST_FINDINGS):
            found = _run(wanted, runs - result.runs, seed + attempt, corpus, findings)
            result.runs += found.runs
            result.notes = found.notes or result.notes
            fresh = [new for new in found.findings if not _known(new, result.findings)]
            result.findings += fresh
            known += not fresh
            if not found.findings or result.runs >= runs or known >= MOST_AGAIN:
                break
    result.seconds = time.monotonic() - began
    return result


def _known(finding: str, findings: list[str]) -> bool:
    """Return whether the same was found before: what is said of it, without the numbers in it, is the same."""
    told = {re.sub("[0-9]+", "", known.partition(": ")[2]) for known in findings}
    return re.sub("[0-9]+", "", finding.partition(": ")[2]) in told


def _run(wanted: Target, runs: int, seed: int, corpus: Path, findings: Path) -> Result:
    prefix = findings / f"{wanted.name}-"
    before = set(findings.iterdir())
    log = corpus.parent / "log"
    command = [sys.executable, "-m", "tests.fuzz.worker", wanted.name]
    command += [f"-runs={runs}", f"-seed={seed}", f"-max_len={wanted.longest}", f"-timeout={wanted.hang}"]
    command += [f"-rss_limit_mb={MEMORY}", f"-artifact_prefix={prefix}", "-print_final_stats=1"]
    seeds, words = corpus.parent / "seeds", corpus.parent / "words"
    _lay_out(wanted, seeds)
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in wanted.words))
    command += [f"-dict={words}"]
    with log.open("wb") as out:
        code = subprocess.run(
            [*command, str(corpus), str(seeds)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONHASHSEED": "0", target.FINDINGS: str(findings)},
            check=False,
        ).returncode
    said = log.read_text(errors="replace")
    done = _DONE.search(said)
    result = Result(wanted.name, int(done[1]) if done else 0, notes=_noted(said))
    if code:
        (new,) = sorted(set(findings.iterdir()) - before)[:1] or [prefix.with_name(f"{wanted.name}-no-input")]
        new.with_name(f"{new.name}.log").write_text(said[-20_000:])
        result.findings.append(f"{new}: {_reason(said)}")
        result.runs = max(result.runs, 1)
    return result


def _lay_out(wanted: Target, seeds: Path) -> None:
    """Put all seeds into one folder, under names that differ."""
    if seeds.is_dir():
        return
    seeds.mkdir()
    for number, file in enumerate(wanted.seeds):
        (seeds / f"{number:05d}").write_bytes(file.read_bytes()[: wanted.longest])


def _escaped(word: bytes) -> str:
    return "".join(chr(b) if 0x20 <= b < 0x7F and chr(b) not in '"\\' else f"\\x{b:02X}" for b in word)


def _noted(said: str) -> str:
    """Return what a target counted itself: its last line that begins with `note: `."""
    notes = [line.removeprefix("note: ") for line in said.splitlines() if line.startswith("note: ")]
    return notes[-1] if notes else ""


def _reason(said: str) -> str:
    lines = [line.strip() for line in said.splitlines()]
    marks = (" === Uncaught Python exception: ===", "ERROR: libFuzzer:")
    for number, line in enumerate(lines):
        if line.startswith(marks[0].strip()) and number + 1 < len(lines):
            return lines[number + 1][:200]
        if marks[1] in line:
            return line.partition("ERROR: ")[2][:200]
    return lines[-1][:200] if lines else "it said nothing"


def _line(result: Result) -> str:
    rate = result.runs / max(result.seconds, 0.001)
    told = f"{result.name:<17}{result.runs:>10,} inputs {result.seconds:>7.0f} s {rate:>8,.0f}/s"
    told += f"  {len(result.findings)} findings" + (f"; {result.notes}" if result.notes else "")
    return "\n".join([told, *(f"    {finding}" for finding in result.findings)])


def _total(results: list[Result], seed: int) -> int:
    runs, findings = sum(r.runs for r in results), sum(len(r.findings) for r in results)
    print(f"{'together':<17}{runs:>10,} inputs, {findings} findings, seed {seed}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
