"""Fixtures of the unit tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.conftest import state_folder

MEMORY = Path("/dev/shm")

# What hypothesis takes by itself for too slow (200 ms an example) is how busy the machine is.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.fixture
def state() -> Iterator[Path]:
    """Give an empty state folder, in memory where there is such a place: a disk makes every write of the store wait."""
    with state_folder(MEMORY if MEMORY.is_dir() else Path("/tmp")) as folder:
        yield folder
