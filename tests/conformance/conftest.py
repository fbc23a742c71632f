"""What tests of several implementations share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from tests import incus as lab
from tests.services import require
from tests.swarm import OwnEngine, one_node


@pytest.fixture(scope="session")
def incus() -> Iterator[Mapping[str, str]]:
    """Run an Incus for all tests of this process; yield the variables by which its clients find it."""
    require("incus", "root")
    with lab.incusd() as environ:
        yield environ


@pytest.fixture(scope="session")
def incus_machines(incus: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """Yield the variables of a project of that Incus with virtual machines, where there are any."""
    require("qemu")
    if lacking := lab.lacking_for_machines(incus):
        pytest.skip(f"Incus runs no virtual machines here: {lacking}")
    with lab.machines(incus) as environ:
        yield environ


@pytest.fixture(scope="session")
def swarm_of_one() -> Iterator[OwnEngine]:
    """Run a Swarm of one node for all tests of this process."""
    require("root", "dockerd")
    with one_node() as engine:
        yield engine


@pytest.fixture
def swarm_node(swarm_of_one: OwnEngine) -> Iterator[str]:
    """Yield the socket of that Swarm to a test, which stands where its instances are reached."""
    with swarm_of_one.entered():
        yield swarm_of_one.socket
