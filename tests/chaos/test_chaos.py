"""A short chaos run for every change; `python -m tests.chaos.run --kills 200` is the long one."""

from __future__ import annotations

import os
import random
from pathlib import Path

import docker
import pytest

from tests.chaos.run import run
from tests.live.shop import Kind
from tests.services import require

pytestmark = pytest.mark.live

FAULTS = int(os.environ.get("CHAOS_FAULTS", "6"))


@pytest.mark.parametrize("kind", ["process", "docker"])
def test_whatever_goes_wrong_users_are_served_and_it_can_be_ended(
    kind: Kind, state: Path, request: pytest.FixtureRequest
) -> None:
    require("haproxy")
    client: docker.DockerClient | None = request.getfixturevalue("engine") if kind == "docker" else None
    seed = int(os.environ.get("CHAOS_SEED", "0")) or random.SystemRandom().randrange(10**6)
    tally = run(kind, range(FAULTS), seed, state, client)
    said = f"python -m tests.chaos.run --seed {seed} --kind {kind} --kills {FAULTS}\n{tally.text()}"
    print(said)
    assert not tally.lost, said
    assert not tally.broken, said
    assert tally.requests > 100, said
