"""A bench for each HAProxy of this host.

A change is tried with the newest of them; on the others it is tried with what every proxy promises, in
tests/conformance/test_traffic.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deployer.drivers.traffic.haproxy import binary
from tests import tiers
from tests.live.proxies import Bench, label, programs
from tests.live.upstream import Upstream
from tests.services import require

PROGRAMS = programs() if tiers.FULL else sorted(programs(), key=binary.version_of)[-1:]
ABSENT = [Path("haproxy")]  # the test says that there is none


@pytest.fixture(params=PROGRAMS or ABSENT, ids=[label(p) for p in PROGRAMS] or ["none"])
def program(request: pytest.FixtureRequest) -> Path:
    require("haproxy")
    path: Path = request.param
    return path


@pytest.fixture
def bench(state: Path, program: Path) -> Iterator[Bench]:
    """Yield our own proxy, with nothing in it."""
    bench = Bench(state, program)
    try:
        yield bench
    finally:
        bench.close()


@pytest.fixture
def team(state: Path, program: Path) -> Iterator[Bench]:
    """Yield a proxy that a team runs."""
    bench = Bench(state, program, team=True)
    try:
        yield bench
    finally:
        bench.close()


@pytest.fixture
def blue() -> Iterator[Upstream]:
    with Upstream("b1") as upstream:
        yield upstream


@pytest.fixture
def green() -> Iterator[Upstream]:
    with Upstream("g1") as upstream:
        yield upstream
