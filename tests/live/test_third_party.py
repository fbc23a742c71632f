"""An application of somebody else goes from one of its real versions to the next and back; its users never notice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import docker
import pytest

from tests.lab import thirdparty
from tests.live.conftest import Make
from tests.live.shop import Shop
from tests.load import Load, Options

pytestmark = pytest.mark.live

OLD, NEW = thirdparty.VERSIONS
PLAIN = ("fresh", "busy", "paused")  # clients without a cookie: they have no side to stay on
MIX = Options(rate=60, kinds=(*PLAIN, "sticky"), version_pattern=thirdparty.VERSION_PATTERN)


@pytest.fixture
def index(state: Path, engine: docker.DockerClient) -> Iterator[str]:
    """Yield the name of an image that has both versions as tags; they go when the containers are gone."""
    name = f"index-{state.name}"
    with ExitStack() as images:
        for version in thirdparty.VERSIONS:
            images.enter_context(thirdparty.built(f"{name}:{version}", engine, version=version))
        yield name


@pytest.fixture
def package_index(index: str, make_shop: Make) -> Shop:  # images outlive the shop: fixtures end in reverse order
    """Return the service with the old version live."""
    shop = make_shop("docker")
    shop.manifest["health"].update(http=thirdparty.HEALTH, deadline="60s")  # it takes its time to start
    shop.write(image=index, port=thirdparty.PORT)
    shop.deploy("up", "--version", OLD)
    return shop


@pytest.mark.long("an application of others, there and back", every_change=True)
def test_upgrade_by_canary_and_back(package_index: Shop) -> None:
    shop = package_index
    with Load(shop.url, MIX) as load:
        load.until(lambda now: now.answered > 60, "the load runs")
        load.mark("canary")
        shop.deploy("canary", "--percent", "10", "--version", NEW)
        load.mark("promoted")
        wanted = load.counters().answered + 100
        load.until(lambda now: now.answered >= wanted, "requests after the promotion")
        load.mark("leaving")
        shop.deploy("rollback")
        load.mark("back")
        again = load.counters().answered + 100
        load.until(lambda now: now.answered >= again, "requests after the rollback")
        report = load.stop()
    assert report.failed == 0, report.text()
    assert {kind for kind, (good, _) in report.by_kind.items() if good} == set(MIX.kinds)
    assert set(report.before("canary").by_version) == {OLD}
    assert set(report.after("canary").before("promoted").by_version) == {OLD, NEW}
    plain = report.only(*PLAIN)
    assert set(plain.after("promoted").before("leaving").by_version) == {NEW}
    assert set(plain.after("back").by_version) == {OLD}
    assert shop.get("/simple/").text.count("hello") > 0, "the index still serves its packages"
