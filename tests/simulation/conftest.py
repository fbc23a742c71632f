"""Processes that all tests of this stage share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.simulation.many import Many, many


@pytest.fixture(scope="session")
def rollouts() -> Iterator[Many]:
    with many() as processes:
        yield processes
