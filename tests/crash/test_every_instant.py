"""Death at every instant: each strategy with its options, each ending, killed at each write and each driver call.

A copy of state folder and world at an instant is what a SIGKILL leaves there. From each one the rollout is resumed,
aborted, and asked for again; some are killed again on the way. So many of them as tests/tiers.py says; all with
`python -m tests.crash`.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.crash.explore import Found
from tests.crash.scenarios import SCENARIOS
from tests.crash.work import TRIED

KILLED = [("killed", scenario.name) for scenario in SCENARIOS]
SHOWN = 12  # of what is wrong


@pytest.mark.parametrize("piece", KILLED, ids=lambda piece: piece[1])
def test_killed_anywhere_it_comes_to_the_same_end(piece: tuple[str, str], found: Callable[[str, str], Found]) -> None:
    seen = found(*piece)
    assert not seen.wrong, "\n".join([f"{len(seen.wrong)} of {seen.tried}:", *seen.wrong[:SHOWN]])
    assert seen.single >= 8 // TRIED.stride
    assert seen.instants > 20


def test_every_strategy_and_every_ending_is_among_them() -> None:
    strategies = {scenario.strategy for scenario in SCENARIOS}
    assert strategies == {"canary", "bluegreen", "rolling", "recreate"}
    assert {scenario.ends for scenario in SCENARIOS} == {"done", "reverted", "paused", "down"}
    commands = {scenario.name.partition(":")[0] for scenario in SCENARIOS if scenario.act}
    assert commands == {"rollback", "abort", "promote", "resume", "replace", "down", "scale", "keep", "contract"}
    wishes = {wish.partition(" ")[0] for scenario in SCENARIOS for wish in scenario.asks.values()}
    assert wishes == {"abort", "approve", "force", "pause", "promote", "refuse", "signal"}
