"""The page on releases of several services, typed as it is, under load; and one of three that is bad."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.documents import REPOSITORY, blocks
from tests.live.conftest import Make
from tests.live.shop import DEPLOY, Shop
from tests.live.test_docs import follow, typed
from tests.load import Load, Options
from tests.services import require

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("docs")]

PAGE = REPOSITORY / "docs" / "sets.md"
SERVICES = ("backend", "frontend", "mailer")
QUICK = {"canary": {"steps": [10, 50], "for": "2s", "bake": "1s"}}
USERS = Options(rate=60, kinds=("fresh", "sticky"))


@dataclass
class Set:
    """The services of the page in one state folder, and the folder with their `release.yml`."""

    shops: tuple[Shop, ...]

    @property
    def home(self) -> Shop:
        """The service beside whose manifest the release file is."""
        return self.shops[1]

    def environment(self) -> dict[str, str]:
        path = f"{Path(DEPLOY).parent}:{self.home.environment()['PATH']}"
        return {**self.home.environment(), "DEPLOYER_STATE": str(self.home.state), "PATH": path}


@pytest.fixture
def three(make_shop: Make, state: Path) -> Iterator[Set]:
    require("haproxy")
    shops = []
    for name in SERVICES:
        shop = make_shop("process")
        shop.name, shop.state, shop.folder = name, state / "state", state / name
        shop.folder.mkdir()
        shop.write(service=name, replicas=1)
        for version in ("1.0", "2.0"):
            shop.version(version)
        shops.append(shop)
    (file,) = (yaml.safe_load(b.text) for b in blocks(PAGE) if b.language == "yaml" and b.text.startswith("release:"))
    (shops[1].folder / "release.yml").write_text(yaml.safe_dump({**file, "strategy": QUICK}))
    yield Set(tuple(shops))
    for shop in shops:
        shop.close()


def loads(stack: ExitStack, three: Set) -> list[Load]:
    found = [stack.enter_context(Load(shop.url, USERS)) for shop in three.shops]
    for load in found:
        load.until(lambda now: now.answered > 20, "the load runs")
    return found


@pytest.mark.long("three services released twice and rolled back, under load")
def test_the_page_is_typed_and_no_request_is_lost(three: Set) -> None:
    page = typed("docs/sets.md")
    follow("docs/sets.md", page[:1], three.home.folder, three.environment(), {})
    with ExitStack() as stack:
        running = loads(stack, three)
        follow("docs/sets.md", page[1:], three.home.folder, three.environment(), {})
        reports = [load.stop() for load in running]
    for report in reports:
        assert report.failed == 0, report.text()
        assert set(report.by_version) == {"1.0", "2.0"}


@pytest.mark.long("three services released, and rolled back at 50% of the traffic")
def test_a_third_service_that_is_bad_takes_all_back_and_is_named(three: Set) -> None:
    three.home.deploy("release", "bluegreen", "--bake", "0", "--version", "1.0")
    three.shops[2].version("2.0", {"ERR": "0.5"})
    with ExitStack() as stack:
        running = loads(stack, three)
        ending = three.home.deploy("release", "canary", "--steps", "25", "--for", "8s", "--version", "2.0", expect=3)
        reports = [load.stop() for load in running]
    assert "was rolled back: mailer: r2 " in ending.stdout
    assert "; backend, frontend were rolled back with it" in ending.stdout
    for shop, report in zip(three.shops, reports, strict=True):
        assert shop.status()["stable_version"] == "1.0"
        assert report.failed == 0, f"GET users see nothing of it: {report.text()}"
        assert report.by_version.get("2.0"), f"the candidate of {shop.name} had users"
