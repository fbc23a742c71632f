"""An application of somebody else, as it is: pypiserver goes from one of its real versions to the next, and back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack

import docker
import pytest

from tests.lab import thirdparty
from tests.live.conftest import Make
from tests.live.shop import Shop
from tests.load import Load, Options

pytestmark = pytest.mark.live

OLD, NEW = thirdparty.VERSIONS
# It has no echo, no WebSocket and no slow page; its version stands on its welcome page alone.
VISITORS = Options(rate=50, kinds=("fresh", "busy", "sticky"), version_pattern=thirdparty.VERSION_PATTERN)


@pytest.fixture
def index(make_shop: Make, engine: docker.DockerClient) -> Iterator[Shop]:
    """Give a package index with the old version live, the new one at hand."""
    with ExitStack() as images:
        index = make_shop("docker")
        for version in thirdparty.VERSIONS:
            images.enter_context(thirdparty.built(f"{index.name}:{version}", engine, version=version))
        index.manifest["health"]["http"] = thirdparty.HEALTH
        index.write(port=thirdparty.PORT, smoke=[{"get": "/simple/", "body": "hello"}])
        index.deploy("up", "--version", OLD)
        try:
            yield index
        finally:
            index.close()  # before its images


def version(index: Shop) -> str:
    found = re.search(thirdparty.VERSION_PATTERN, index.get("/").text)
    assert found
    return found[1]


def visited(load: Load, what: str) -> None:
    wanted = load.counters().answered + 100
    load.until(lambda now: now.answered >= wanted, what)


def test_an_upgrade_by_canary_and_the_way_back(index: Shop) -> None:
    assert version(index) == OLD
    with Load(index.url, VISITORS) as load:
        visited(load, "visitors of the old version")
        load.mark("canary")
        index.deploy("canary", "--percent", "10", "--version", NEW)
        load.mark("promoted")
        visited(load, "visitors of the new version")
        load.mark("back")
        index.deploy("rollback")
        load.mark("rolled back")
        visited(load, "visitors after the way back")
        report = load.stop()
    assert report.failed == 0, report.text()
    assert set(report.by_version) == {OLD, NEW}
    assert set(report.before("canary").by_version) == {OLD}
    assert set(report.after("promoted").before("back").by_version) == {NEW}
    assert set(report.after("rolled back").by_version) == {OLD}
    assert version(index) == OLD
