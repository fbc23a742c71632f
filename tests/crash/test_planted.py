"""The suite against bugs that are planted: it has to report each of them, and for the right reason."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.crash.explore import Found
from tests.crash.planted import BUGS, LEASED, TALKS

SAID = {bug.name: bug.said for bug in BUGS}
PLANTED = [("planted", bug.name) for bug in BUGS]


@pytest.mark.parametrize("piece", PLANTED, ids=lambda piece: piece[1])
def test_a_planted_bug_is_reported(piece: tuple[str, str], found: Callable[[str, str], Found]) -> None:
    said = "\n".join(found(*piece).wrong)
    assert SAID[piece[1]] in said, said[:2000] or "nothing was found"


@pytest.mark.parametrize("piece", [("killed", LEASED.name), ("killed", TALKS.name)], ids=lambda piece: piece[1])
def test_without_its_bug_a_scenario_is_as_it_should_be(
    piece: tuple[str, str], found: Callable[[str, str], Found]
) -> None:
    assert found(*piece).wrong == []
