"""What tests of several implementations share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from tests.incus import incusd
from tests.services import require


@pytest.fixture(scope="session")
def incus() -> Iterator[Mapping[str, str]]:
    """Run an Incus for all tests of this process; give the variables by which its clients find it."""
    require("incus", "root")
    with incusd() as environ:
        yield environ
