"""Fixtures of the unit tests."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from deployer.app import work_tree
from deployer.app.operations import deployment
from tests.conftest import state_folder
from tests.documents import REPOSITORY

MEMORY = Path("/dev/shm")
ENOUGH = 1 << 30  # bytes


def _has_room(place: Path) -> bool:
    """Return whether tests can have their folders there, and programs in them."""
    if not place.is_dir():
        return False
    found = os.statvfs(place)
    return found.f_bavail * found.f_frsize > ENOUGH and not found.f_flag & os.ST_NOEXEC


# Where pytest makes `tmp_path`: a disk makes every write of a store wait.
if _has_room(MEMORY):
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

# What hypothesis takes by itself for too slow (200 ms an example) is how busy the machine is.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.fixture
def state() -> Iterator[Path]:
    """Yield an empty state folder, in memory where there is such a place: a disk makes each write of the store wait."""
    with state_folder(MEMORY if MEMORY.is_dir() else Path("/tmp")) as folder:
        yield folder


_revision = functools.cache(work_tree.git_revision)


@pytest.fixture(autouse=True)
def _one_revision_of_this_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask Git once for what stays the same: thousands of deploys of these tests have their strategies from here."""
    monkeypatch.setattr(
        deployment,
        "git_revision",
        lambda folder: _revision(folder) if folder == REPOSITORY else work_tree.git_revision(folder),
    )
