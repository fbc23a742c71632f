"""The proxy's own checks of new instances go on while their health check is waited for."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployer.core.errors import Exit
from tests.house import Scene
from tests.memory import PaperPulse


@pytest.fixture
def scene(state: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """Return a service whose first release is live."""
    monkeypatch.setattr("deployer.engine.walk.LeaseRenewer", PaperPulse)
    scene = Scene(state)
    assert scene.deploy("1.0").exit is Exit.DONE
    return scene


def calls(scene: Scene) -> list[str]:
    """Return a list that hears of each call of a driver; what follows at once is one."""
    heard: list[str] = []

    def hear(what: str) -> None:
        call = what.removeprefix("before ").removeprefix("after ").split()[0]
        if not heard or heard[-1] != call:
            heard.append(call)

    scene.world.tick = hear
    return heard


@pytest.mark.parametrize("strategy", ["bluegreen", "canary", "rolling", "recreate"])
def test_the_proxy_is_told_of_them_before_their_health_is_asked(scene: Scene, strategy: str) -> None:
    heard = calls(scene)
    assert scene.deploy("2.0", strategy).exit is Exit.DONE
    start = heard.index("ensure")
    wanted = ["ensure", "configure", "introduce", "configure", "attach"]
    assert heard[start : start + len(wanted)] == wanted


def test_of_what_a_playbook_changes_first_it_is_told_afterwards(scene: Scene) -> None:
    heard = calls(scene)
    assert scene.deploy("2.0", manifest={"update": [{"run": ["true"], "in": "instance"}]}).exit is Exit.DONE
    assert "introduce" not in heard
    assert scene.world.ran
    assert "attach" in heard


def test_what_never_becomes_healthy_is_forgotten_by_the_proxy(scene: Scene) -> None:
    scene.world.broken.add("2.0")
    assert scene.deploy("2.0").exit is Exit.FAILED
    assert scene.world.servers["shop", "green"] == {}
    assert (scene.live.stable, scene.versions("green")) == ("blue", [])
