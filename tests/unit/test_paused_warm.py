"""What is kept warm and paused: out of the proxy, gone on by a rollback, and no trouble to anybody meanwhile."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from deployer.app import operations
from deployer.app.doctor import services
from deployer.core.clock import Deadline
from deployer.core.errors import DriverFailed, Refused
from deployer.core.host import ServiceHosts
from deployer.drivers.hosts.verbs import AnsibleVerbs
from deployer.drivers.runtime.ansible import AnsibleRuntime
from deployer.drivers.runtime.ansible.host_presence import HostPresence
from deployer.drivers.runtime.ansible.runtime import Ground
from deployer.manifest.models import Manifest
from deployer.model import Place
from tests.house import Scene
from tests.memory import Crash, FakeClock, MemoryPauser

QEMU: dict[str, Any] = {
    "image": "disk-{version}",
    "runtime": "ansible",
    "verbs": "qemu",
    "keep": {"warm": "1h", "paused": True},
}


class MachineScene(Scene):
    """A service of virtual machines, of which the former ones are paused."""

    def deploy(self, version: str, strategy: str = "bluegreen", **more: Any) -> Any:
        return super().deploy(version, strategy, manifest=QEMU, **more)

    def states(self) -> dict[str, str]:
        return {name: i.state for name, i in sorted(self.world.instances.items())}

    def served(self, place: Place) -> list[str]:
        return sorted(self.world.servers["shop", place])


def wrong(shop: MachineScene) -> list[str]:
    """What doctor finds wrong; that nobody keeps what is warm is another matter."""
    return [found.text for found in services.service(shop.house, "shop") if found.level == "bad"]


@pytest.fixture
def shop(state: Path) -> MachineScene:
    made = MachineScene(state)
    made.deploy("1.0")
    made.deploy("2.0")
    return made


def test_the_former_release_is_paused_when_nobody_is_sent_there(shop: MachineScene) -> None:
    assert shop.states() == {
        "shop-r1-1": "paused",
        "shop-r1-2": "paused",
        "shop-r2-1": "running",
        "shop-r2-2": "running",
    }
    assert shop.served("blue") == []
    assert shop.live.warm == 0, "an emergency does not give users to what is paused"
    assert shop.house.store.services.get("shop").warm == 1
    plan = shop.house.store.rollouts.of("shop")[0].plan
    assert [step.kind for step in plan.forward][-4:] == ["warm", "handover", "pause", "prune"]
    assert wrong(shop) == []


def test_a_rollback_has_it_go_on_and_pauses_the_other(shop: MachineScene) -> None:
    assert operations.rollback(shop.house, "shop", reason="it was bad").outcome == "done"
    assert shop.states() == {
        "shop-r1-1": "running",
        "shop-r1-2": "running",
        "shop-r2-1": "paused",
        "shop-r2-2": "paused",
    }
    assert (shop.live.stable, len(shop.served("blue")), shop.served("green")) == ("blue", 2, [])
    plan = shop.house.store.rollouts.of("shop")[0].plan
    assert plan.notes == ("back to r1 (1.0): its environment is paused: it goes on first",)
    assert [step.kind for step in plan.forward][-3:] == ["warm", "handover", "pause"]
    assert [step.kind for step in plan.forward][:4] == ["start", "healthy", "attach", "promote"]


def test_the_next_release_takes_its_place(shop: MachineScene) -> None:
    shop.deploy("3.0")
    assert shop.states() == {
        "shop-r2-1": "paused",
        "shop-r2-2": "paused",
        "shop-r3-1": "running",
        "shop-r3-2": "running",
    }


def test_what_cannot_be_paused_runs_on_and_takes_users_back(
    shop: MachineScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise DriverFailed("shop-r2-1 has no lifecycle playbook pause.yml")

    monkeypatch.setattr(MemoryPauser, "pause", fail)
    assert shop.deploy("3.0").outcome == "done"
    assert "shop-r2-1, shop-r2-2: not paused, shop-r2-1 has no lifecycle playbook pause.yml" in [
        told["text"] for told in shop.told("note")
    ]
    assert (shop.states()["shop-r2-1"], shop.served("green")) == ("running", [])
    assert wrong(shop) == []
    operations.rollback(shop.house, "shop", reason="it was bad")
    assert (shop.live.stable, len(shop.served("green"))) == ("green", 2)


def test_what_is_paused_in_part_goes_on_as_a_whole(shop: MachineScene) -> None:
    there = shop.world.instances["shop-r1-2"]
    shop.world.instances["shop-r1-2"] = replace(there, state="running")
    assert wrong(shop) == []
    operations.rollback(shop.house, "shop", reason="it was bad")
    plan = shop.house.store.rollouts.of("shop")[0].plan
    assert plan.notes == ("back to r1 (1.0): its environment is paused: it goes on first",)
    assert (shop.states()["shop-r1-1"], len(shop.served("blue"))) == ("running", 2)
    shop.world.instances["shop-r2-1"] = replace(shop.world.instances["shop-r2-1"], state="exited")
    assert any("shop-r2-1 is exited" in text for text in wrong(shop)), "what has ended is not kept at all"


@pytest.mark.parametrize("where", ["before pause shop-r2-1", "after pause shop-r2-1", "after pause shop-r2-2"])
def test_a_kill_in_the_middle_is_continued(shop: MachineScene, where: str) -> None:
    def killed(what: str) -> None:
        if what == where:
            raise Crash

    alive, shop.world.tick = shop.world.tick, killed
    with pytest.raises(Crash):
        shop.deploy("3.0")
    shop.world.tick = alive
    assert operations.resume(shop.house, "shop", "").outcome == "done"
    assert shop.states() == {
        "shop-r2-1": "paused",
        "shop-r2-2": "paused",
        "shop-r3-1": "running",
        "shop-r3-2": "running",
    }
    assert shop.live.stable == "blue"


def test_only_lifecycle_playbooks_that_can_are_asked_to(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"keep.paused: runtime docker keeps what is warm running"):
        Manifest.model_validate({"service": "shop", "image": "shop:1", "port": 80, "keep": {"paused": True}})
    said = {**QEMU, "service": "shop", "image": "app", "version": "1", "port": 80, "verbs": "systemd", "command": ["a"]}
    manifest = Manifest.model_validate(said)
    clock = FakeClock()
    ground = Ground(tmp_path, "here", tmp_path)
    runtime = AnsibleRuntime(ground, AnsibleVerbs(None), ServiceHosts(), HostPresence(clock), clock)
    with pytest.raises(Refused, match=r"keep.paused: .*systemd has no pause.yml, resume.yml"):
        runtime.resolve(manifest, str(tmp_path), Deadline.after(clock, 1), lambda *_, **__: None)
