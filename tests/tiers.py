"""What every change is tried with, and what only `scripts/test --full` tries.

A test that takes more than BRIEF seconds on a quiet machine carries the mark `long("why it earns them")`, and is left
to `--full`; with `every_change=True` each change is tried with it nevertheless, with `every_change=("one", "two")` with
these cases of it, by their ids. What draws at random draws less often for a change than in full. `scripts/test` sets
the tier; pytest by itself tries everything.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Sequence
from typing import TypeVar

import pytest

Case = TypeVar("Case")

BRIEF = 5.0
FULL = os.environ.get("DEPLOYER_TEST_TIER", "full") == "full"
SEED = int(os.environ.get("SEED") or 0)  # of what is drawn; another number draws something else


def draws(full: int, change: int) -> int:
    """Return how often to draw: in full, or for a change."""
    return full if FULL else change


def seeds(number: int) -> range:
    """Return so many seeds."""
    return range(SEED * 10_000, SEED * 10_000 + number)


def some(cases: Sequence[Case], change: int) -> list[Case]:
    """Return all cases, or so many of them for a change, drawn by the seed."""
    drawn = random.Random(SEED).sample(range(len(cases)), len(cases) if FULL else change)
    return [cases[place] for place in sorted(drawn)]


def why_long(item: pytest.Item) -> str | None:
    """Return why a test takes long, None for one that does not."""
    mark = _mark(item)
    if mark is None:
        return None
    if not mark.args or not set(mark.kwargs) <= {"every_change"}:
        raise pytest.UsageError(f'{item.nodeid}: a long test says why: @pytest.mark.long("why", every_change=False)')
    return str(mark.args[0])


def _mark(item: pytest.Item) -> pytest.Mark | None:
    """Return the closest mark; one that names cases says nothing of a test that has none in the module that uses it."""
    cases = hasattr(item, "callspec")
    marks = item.iter_markers("long")
    return next((m for m in marks if cases or not isinstance(m.kwargs.get("every_change"), tuple)), None)


def left_to_full(item: pytest.Item) -> bool:
    """Return whether a test is not among those that every change is tried with."""
    mark = _mark(item)
    if mark is None:
        return False
    chosen = mark.kwargs.get("every_change", False)
    if isinstance(chosen, tuple):
        assert isinstance(item, pytest.Function)
        return item.callspec.id not in chosen
    return not chosen


def choose(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the tests that are for `--full` out, and write the marks into the report of those that run."""
    for item in items:
        if (why := why_long(item)) is not None:
            item.user_properties.append(("long", why))
    if FULL:
        return
    left = [item for item in items if left_to_full(item)]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if not left_to_full(item)]


def longest_first(items: list[pytest.Item]) -> None:
    """Let workers that take one test after the other begin with what takes long, so that none of it comes last.

    The tests of a group stay in their order.
    """
    items.sort(key=lambda item: 0 if item.get_closest_marker("xdist_group") else 1 if why_long(item) else 2)


def mark_all(items: Iterable[pytest.Item], mark: pytest.MarkDecorator) -> None:
    """Mark the tests that do not say it themselves."""
    for item in items:
        if item.get_closest_marker(mark.name) is None:
            item.add_marker(mark)


def header() -> str:
    """Return, for the head of a run, what is tried."""
    what = "everything" if FULL else "what every change is tried with; scripts/test --full tries everything"
    return f"tier: {what}; SEED={SEED}"
