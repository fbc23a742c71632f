"""A proxy that has lost where users are: what people type brings it back from the records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deployer.app import doctor, operations
from deployer.app.operations.proxy_recovery import recorded
from tests.house import Scene


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """Yield a service with two releases, of whose live value the proxy knows nothing any more."""
    made = Scene(tmp_path)
    made.deploy("1.0")
    made.deploy("2.0")
    made.world.unread.add("shop")
    yield made
    made.house.store.database.close()


def on(scene: Scene) -> str:
    (version,) = set(scene.versions(scene.live.stable))
    return version


def test_the_records_say_where_users_are(scene: Scene) -> None:
    live = recorded(scene.house)["shop"]
    assert (live.stable, live.share, live.rollout, live.warm) == ("green", 0, 2, 0)


def test_a_deploy_brings_it_back(scene: Scene) -> None:
    assert scene.deploy("3.0").outcome == "done"
    assert on(scene) == "3.0"


def test_a_deploy_of_what_is_live_brings_it_back(scene: Scene) -> None:
    assert "nothing to do" in scene.deploy("2.0").text
    assert (on(scene), scene.world.unread) == ("2.0", set())


def test_a_rollback_brings_it_back_and_goes_back(scene: Scene) -> None:
    assert operations.rollback(scene.house, "shop").outcome == "done"
    assert on(scene) == "1.0"


def test_doctor_says_so_and_brings_it_back(scene: Scene) -> None:
    found = doctor.examine(scene.house, None).findings
    assert any("do not agree" in finding.text for finding in found)
    doctor.fix(scene.house, None)
    assert (on(scene), scene.world.unread) == ("2.0", set())


def test_nobody_is_served_by_a_guess(scene: Scene) -> None:
    """Where nothing stands of the release that was promoted last, the records do not say where users are."""
    for name in [n for n in scene.world.instances if n.startswith("shop-r2-")]:
        del scene.world.instances[name]
    assert recorded(scene.house) == {}
