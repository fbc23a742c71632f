"""What tests of several implementations share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from tests.incus import incusd
from tests.postgres import Server, running
from tests.services import require


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """Run a PostgreSQL for all tests of this process."""
    require("postgres")
    with running() as started:
        yield started


@pytest.fixture(scope="session")
def incus() -> Iterator[Mapping[str, str]]:
    """Run an Incus for all tests of this process; give the variables by which its clients find it."""
    require("incus", "root")
    with incusd() as environ:
        yield environ
