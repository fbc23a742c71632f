"""The lock of a process is taken by somebody else between any two of its events: it changes nothing any more."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.crash.explore import Found
from tests.crash.scenarios import SCENARIOS

OVERTAKEN = [("overtaken", scenario.name) for scenario in SCENARIOS if scenario.ends != "down"]


@pytest.mark.parametrize("piece", OVERTAKEN, ids=lambda piece: piece[1])
def test_who_was_overtaken_changes_nothing(piece: tuple[str, str], found: Callable[[str, str], Found]) -> None:
    seen = found(*piece)
    assert not seen.wrong, "\n".join([f"{len(seen.wrong)} of {seen.tried}:", *seen.wrong])
    assert seen.tried >= 3
