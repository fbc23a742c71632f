"""A short chaos run for every change; `python -m tests.chaos.run --kills 200` is the long one."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys

import pytest

from tests import tiers
from tests.chaos.faults import FAULTS
from tests.documents import REPOSITORY
from tests.services import require
from tests.tiers import draws

pytestmark = pytest.mark.live

KILLS = os.environ.get("CHAOS_KILLS") or str(draws(6, 4))
SECONDS = 1800


def chaos(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.chaos.run", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("process", marks=pytest.mark.long("a run of some faults under load", every_change=True)),
        pytest.param("docker", marks=pytest.mark.long("a run of some faults under load, with an engine of its own")),
    ],
)
def test_whatever_goes_wrong_users_are_served_and_it_can_be_ended(kind: str) -> None:
    require("root", "haproxy", "gcc", *(["dockerd"] if kind == "docker" else []))
    seed = str(tiers.SEED or random.SystemRandom().randrange(10**6))
    done = chaos("--seed", seed, "--kind", kind, "--kills", KILLS)
    said = f"python -m tests.chaos.run --seed {seed} --kind {kind} --kills {KILLS}\n{done.stdout}\n{done.stderr}"
    print(said)
    assert done.returncode == 0, said
    assert f"{KILLS} faults: " in said


@pytest.mark.long("a run of some faults under load")
def test_a_lost_request_that_no_fault_excuses_is_seen() -> None:
    """The test of the test: the proxy is killed a few times, which may meet no request, and nothing is excused."""
    require("root", "haproxy", "gcc")
    done = chaos("--seed", "1", "--kills", "4", "--fault", "the proxy is killed", "--planted")
    assert done.returncode == 1, done.stdout
    assert re.search(", [1-9][0-9]* lost otherwise", done.stdout), done.stdout
    # Which of the two it is depends on where the kill met a request.
    assert "cannot connect" in done.stdout or "broken while waiting" in done.stdout


def test_every_fault_is_tried_where_there_is_such_a_thing() -> None:
    assert {kind for fault in FAULTS.values() for kind in fault.kinds} == {"process", "docker"}
    assert len(FAULTS) == 9
