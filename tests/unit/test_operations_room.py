"""How many ports a plan needs at its fullest moment, by strategy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deployer.app.operations import deploy
from deployer.core.errors import Refused
from tests.house import house, request
from tests.memory import World


@pytest.mark.parametrize(
    ("strategy", "options", "ports"),
    [
        ("canary", {"steps": [50], "for": "1s"}, 4),  # two of the old, two of the new
        ("bluegreen", {"bake": "0s"}, 4),
        ("rolling", {"batch": 1, "for": "0s"}, 3),  # one more at a time
        ("recreate", {}, 2),  # never both
    ],
)
def test_a_second_release_needs_this_many_ports(
    state: Path, strategy: str, options: dict[str, Any], ports: int, free: None
) -> None:
    world = World()
    here = house(state, world)
    here.ports = range(21000, 21002)
    assert deploy(here, request("1.0")).outcome == "done"
    here.ports = range(21000, 21000 + ports - 1)
    if ports > 2:
        with pytest.raises(Refused, match="widen DEPLOYER_PORTS"):
            deploy(here, request("2.0", strategy, options=options))
        assert len(here.store.rollouts.of("shop")) == 1, "nothing began"
    here.ports = range(21000, 21000 + ports)
    assert deploy(here, request("2.0", strategy, options=options)).outcome == "done"


def test_what_stands_in_the_way_is_counted_as_room(state: Path, free: None) -> None:
    """A third release takes the place of the first, which is warm: four ports are enough for ever."""
    here = house(state, World())
    here.ports = range(21000, 21004)
    for version in ("1.0", "2.0", "3.0", "4.0"):
        assert deploy(here, request(version, "bluegreen", options={"bake": "0s"})).outcome == "done"


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count ports as usable whatever other programs of this host do."""
    monkeypatch.setattr("deployer.app.operations.port_capacity.port_usable", lambda _port: True)
    monkeypatch.setattr("deployer.app.operations.execution.port_usable", lambda _port: True)
