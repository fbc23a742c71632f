"""The way back: typed once, typed twice, typed when nothing else works."""

from __future__ import annotations

import pytest

from tests.acceptance.users import met, more, users
from tests.live.shop import Shop

pytestmark = pytest.mark.live


def promote(shop: Shop, version: str) -> None:
    shop.version(version)
    shop.deploy("bluegreen", "--bake", "0", "--version", version)


@pytest.mark.long("three releases and three ways back", every_change=True)
def test_a_rollback_that_is_typed_twice_goes_back_once_unless_it_is_meant(process_shop: Shop) -> None:
    shop = process_shop
    promote(shop, "2.0")
    promote(shop, "3.0")
    with users(shop.url) as load:
        assert "r2 (2.0) is live" in shop.deploy("rollback").stdout
        said = shop.deploy("rollback").stdout
        assert "nothing was changed" in said
        load.mark("twice")
        more(load)
        assert met(load, "twice") == {"2.0"}
        assert "r1 (1.0) is live" in shop.deploy("rollback", "--again").stdout
        load.mark("meant")
    assert met(load, "meant") == {"1.0"}


@pytest.mark.long("two releases on an engine, and the way back", every_change=True)
def test_a_rollback_needs_neither_engine_nor_manifest(docker_shop: Shop) -> None:
    shop = docker_shop
    promote(shop, "2.0")
    with users(shop.url) as load:
        shop.environ["DOCKER_HOST"] = "unix:///nowhere.sock"
        (shop.folder / "deploy.yml").rename(shop.folder / "elsewhere.yml")
        said = shop.deploy("rollback", "-m", "2.0 is slow")
        load.mark("back")
        assert "everyone is on r1 again" in said.stdout + said.stderr
        del shop.environ["DOCKER_HOST"]
        more(load)
    assert met(load, "back") == {"1.0"}
    newest = shop.events("history")[0]["rollouts"][0]
    assert (newest["strategy"], newest["outcome"], newest["message"]) == ("rollback", "done", "2.0 is slow")
    assert shop.status()["stable_version"] == "1.0"
    assert "there is no good release before r1" in shop.deploy("rollback", "--again", expect=2).stderr
