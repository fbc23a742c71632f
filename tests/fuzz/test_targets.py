"""Every target on its seeds, then for some seconds on inputs of its own; and proof that a target can fail."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import target
from tests.fuzz.target import REPOSITORY
from tests.services import require
from tests.tiers import draws, seeds

RUNS = draws(12_000, 4_500)  # of all targets together; scripts/fuzz does a million
SECONDS = 900.0


@pytest.mark.parametrize("name", target.names())
def test_every_seed_passes(name: str) -> None:
    if name == "manifest_values":
        require("haproxy", "openssl")
    wanted = target.load(name)
    assert wanted.seeds
    for file in wanted.seeds:
        wanted.check(file.read_bytes())
    wanted.finish()


def fuzz(findings: Path, *arguments: str, planted: bool = False) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--findings", str(findings), *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **({"FUZZ_TARGETS": "tests.fuzz.planted"} if planted else {})},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def test_bad_input_finds_nothing(tmp_path: Path) -> None:
    require("atheris", "haproxy", "openssl")
    seed = seeds(1)[0] + 1  # 0 would mean any; scripts/fuzz looks further with one of its own
    done = fuzz(tmp_path, "--runs", str(RUNS), "--jobs", "2", "--seed", str(seed))
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "0 findings, seed" in done.stdout


@pytest.mark.parametrize(("plant", "told"), [("trace", "ZeroDivisionError"), ("hang", "timeout"), ("memory", "memory")])
def test_a_planted_bug_is_found_and_seen_again(tmp_path: Path, plant: str, told: str) -> None:
    require("atheris")
    done = fuzz(tmp_path, "--runs", "100000", "--seed", "1", "--target", plant, planted=True)
    assert done.returncode == 1, done.stdout
    assert "1 findings, seed 1" in done.stdout
    assert told in done.stdout
    found, *_ = (file for file in tmp_path.iterdir() if file.suffix != ".log")
    assert found.read_bytes().startswith(b"!!")
    if plant == "trace":
        again = fuzz(tmp_path, "--target", plant, "--replay", str(found), planted=True)
        assert "ZeroDivisionError" in again.stderr
