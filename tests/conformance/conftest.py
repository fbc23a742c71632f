"""What tests of several implementations share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.postgres import Server, running
from tests.services import require


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """Run a PostgreSQL for all tests of this process."""
    require("postgres")
    with running() as started:
        yield started
