"""The keeper as a user meets it: containers that somebody kills come back, and what was kept warm goes."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from tests.live.conftest import Make

pytestmark = pytest.mark.live


@pytest.mark.long("two deploys on an engine, and looks of a keeper", every_change=True)
def test_a_killed_container_is_back_with_users_and_a_warm_environment_goes_when_its_time_is_over(
    make_shop: Make,
) -> None:
    shop = make_shop("docker")
    shop.write(replicas=2, keep={"warm": "1s"})
    shop.live("1.0")
    shop.version("2.0")
    said = shop.deploy("bluegreen", "--bake", "0", "--version", "2.0")
    assert f"`keep.warm` of {shop.name} asks for between deploys" in said.stderr
    assert shop.client is not None
    lost = f"{shop.name}-r2-2"
    shop.client.containers.get(lost).kill()
    with shop.start("keep", "--log", "json") as keeper:

        def settled(found: dict[str, Any]) -> bool:
            there = {i["name"]: i["up"] for e in found["environments"] for i in e["instances"]}
            return there == {f"{shop.name}-r2-1": True, lost: True} and not found["rollout"]

        status = shop.wait(settled, "both run, and nothing else", 120)
        assert (status["stable"], status["keeper"]["runs"], status["keeper"]["next"]) == (2, True, "")
        assert status["keeper"]["last"].endswith(": done")
        assert shop.get().text.strip() == "2.0"
        keeper.send_signal(signal.SIGTERM)
        assert keeper.wait(120) == 0
    rows = shop.events("history")[0]["rollouts"]
    assert rows[0]["strategy"] == "keep"
    assert {row["outcome"] for row in rows} == {"done"}
