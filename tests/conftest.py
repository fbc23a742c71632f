"""Fixtures that all tests share."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import pytest

from deployer.core import secret
from tests import ports, tiers
from tests.postgres import Bouncer, Server, bouncing, running
from tests.services import require

__all__ = ["require"]


def pytest_configure() -> None:
    """Reserve ports for the commands of this process: two that look for a free one at once may find the same."""
    os.environ.setdefault("DEPLOYER_PORTS", ports.words(ports.part(ports.INSTANCES)))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose what is tried; a stage may have marked its own before."""
    tiers.choose(config, items)
    if config.getoption("loadgroup", False):
        tiers.longest_first(items)


def pytest_report_header() -> str:
    """Return what is tried."""
    return tiers.header()


@pytest.fixture(autouse=True)
def _no_secrets_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget afterwards what was a secret in a test: a process hides such texts for the rest of its life."""
    monkeypatch.setattr(secret, "_pieces", ())


@pytest.fixture
def state() -> Iterator[Path]:
    """Yield an empty state folder."""
    with state_folder(Path("/tmp")) as folder:
        yield folder


@contextmanager
def state_folder(place: Path) -> Iterator[Path]:
    """Make an empty state folder, and remove it.

    Its path is short enough for Unix sockets (pytest's tmp_path is not) and its name may be part of an image's.
    """
    folder = place / f"dp{uuid.uuid4().hex[:10]}"
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def free_port() -> int:
    """Return a port of the loopback on which nobody listens."""
    return ports.free_port()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """Run a PostgreSQL for all tests of this process."""
    require("postgres")
    with running() as started:
        yield started


@pytest.fixture(scope="session")
def bouncer(postgres: Server) -> Iterator[Bouncer]:
    """Run a pgbouncer before that PostgreSQL."""
    require("pgbouncer")
    with bouncing(postgres) as started:
        yield started


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """Yield a client of the real Docker engine."""
    require("docker")
    client = docker.from_env(timeout=60)
    try:
        yield client
    finally:
        client.close()
