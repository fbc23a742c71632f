"""A manifest as any bytes, and an overlay of any bytes over it: loaded, or refused with a line for each problem."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

from deployer.core.errors import ManifestRefused, Problem
from deployer.manifest.load import load
from tests.fuzz.target import REPOSITORY, refusals, said

SEEDS = (REPOSITORY / "tests" / "unit" / "manifest_bad", *sorted((REPOSITORY / "examples").glob("*/deploy*.yml")))
WEIGHT = 3
LONGEST = 2048
SPLIT = b"\n...\n"  # what follows is the overlay

_folder = Path(tempfile.mkdtemp(prefix="dp", dir="/tmp"))
atexit.register(shutil.rmtree, _folder, ignore_errors=True)
(_folder / "play.yml").write_text("[]")


def check(data: bytes) -> None:
    base, split, over = data.partition(SPLIT)
    (_folder / "deploy.yml").write_bytes(base)
    (_folder / "deploy.over.yml").write_bytes(over)
    problems: tuple[Problem, ...] = (Problem("deploy.yml:1", "", "loaded"),)
    with refusals():
        try:
            load(_folder / "deploy.yml", destination="over" if split else "", environ={"A": "x", "N": "1"})
        except ManifestRefused as refused:
            problems = refused.problems
            raise
    assert problems
    for problem in problems:
        said(problem.message)
        assert problem.where.startswith("deploy"), problem
