"""Rollouts that go on without a proxy: what it may still send users to stays, it is named, and then it comes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployer.app import doctor, operations
from deployer.app.operations.execution import locked
from deployer.app.operations.proxy_recovery import bring_back
from deployer.app.status import status_of
from deployer.core.errors import Exit, Refused
from deployer.model import CLOCKS, LostProxy
from deployer.views.tables import render
from tests.house import Scene
from tests.memory import PaperPulse
from tests.unit.test_keeper import Looks

WHY = "edge3: no response within 5 s"
KEEP = 3600.0
STEPS = {"strategy": {"canary": {"for": "10s", "bake": "5s"}}, "judge": {"requests": 5}}


class Edge(Scene):
    """A service behind proxies of which edge3 may be lost."""

    def bring(self, version: str, strategy: str = "bluegreen", **more: object) -> operations.RolloutResult:
        return self.deploy(version, strategy, manifest={**STEPS, **more})

    def lose(self, at: str = "") -> None:
        """Lose edge3 with what it has then; `at` is the driver's call before which that happens."""

        def gone(what: str = at) -> None:
            if what.startswith(at) and "edge3" not in self.world.lost:
                now = self.world.clock.now()
                self.world.cut.add("edge3")
                self.world.lost["edge3"] = LostProxy("edge3", WHY, now, (self.live,), now + KEEP)

        if at:
            self.world.tick = gone
        else:
            gone()

    def back(self) -> None:
        self.world.tick = lambda _what: None
        self.world.cut.clear()

    def running(self) -> set[int]:
        return {i.release for i in self.world.instances.values()}

    def differences(self) -> list[str]:
        return [f.text for f in doctor.examine(self.house, None).findings if f.what == "shop" and f.level != "ok"]


@pytest.fixture
def edge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Edge:
    monkeypatch.setattr("deployer.engine.walk.LeaseRenewer", PaperPulse)
    made = Edge(tmp_path)
    assert made.bring("1.0").exit is Exit.DONE
    assert made.bring("2.0", keep={"warm": "0s"}).exit is Exit.DONE
    assert (made.live.stable, made.running()) == ("green", {2})
    return made


@pytest.mark.parametrize("at", ["before attach", "before set_traffic Live(stable='green', share=500"])
def test_the_lost_one_is_named_and_what_it_serves_is_kept(edge: Edge, at: str) -> None:
    edge.lose(at)
    ending = edge.bring("3.0", "canary", keep={"warm": "0s"})
    assert ending.exit is Exit.DONE
    assert ending.text.startswith("r3 (3.0) is live; edge3 is lost: it serves r2 to its users until it is back")
    (told,) = edge.told("proxy.lost")
    assert told["proxy"] == "edge3"
    assert told["text"].startswith(f"edge3 is lost: {WHY}; going on without it: it serves r2 to its users")
    assert edge.running() == {2, 3}
    (note,) = (n["text"] for n in edge.told("note") if "not removed" in n["text"])
    assert note.startswith("not removed, as edge3, which is lost, may send users to green until ")


def test_a_candidate_is_removed_once_its_lease_at_the_lost_one_is_over(edge: Edge) -> None:
    edge.world.worse.add("3.0")
    leases: list[int] = []
    removed: list[float] = []

    def tick(what: str) -> None:
        if what.startswith("after set_traffic Live(stable='green', share=500") and not leases:
            leases.append(edge.live.lease)
            edge.lose()
        if what.startswith("before remove shop-r3"):
            removed.append(edge.world.clock.now())

    edge.world.tick = tick
    ending = edge.bring("3.0", "canary")
    assert (ending.outcome, ending.exit) == ("reverted", Exit.VERDICT), "its lease takes its users back"
    assert "edge3 is lost: it serves r2 to its users until it is back, and r3 to a part of them until" in ending.text
    assert removed
    assert min(removed) >= leases[0] + CLOCKS
    assert edge.running() == {2}


def test_a_share_without_a_lease_needs_a_person(edge: Edge) -> None:
    edge.world.worse.add("3.0")
    edge.lose("after set_traffic Live(stable='green', share=500")
    ending = edge.bring("3.0", "canary", traffic={"lease": 0})
    assert (ending.outcome, ending.exit) == ("reverted", Exit.NEEDS_PERSON)
    assert "and r3 to a part of them without an end" in ending.text
    assert edge.running() == {2, 3}


def test_nothing_is_begun_that_would_remove_what_a_lost_one_serves(edge: Edge) -> None:
    edge.lose("before attach")
    edge.bring("3.0", keep={"warm": "0s"})
    with pytest.raises(Refused, match=r"edge3 is lost .* may send users to green until .*: a rollout would remove"):
        edge.bring("4.0")
    edge.world.clock.sleep(KEEP)
    assert edge.bring("4.0").exit is Exit.DONE, "no longer than it is said"
    assert edge.live.stable == "green"


def test_a_rollback_says_that_users_of_the_lost_one_stay_on_what_it_leaves(edge: Edge) -> None:
    assert edge.bring("3.0").exit is Exit.DONE
    edge.lose()
    ending = operations.rollback(edge.house, "shop")
    assert (ending.outcome, ending.exit) == ("done", Exit.NEEDS_PERSON)
    assert ending.text.startswith("r2 (2.0) is live; edge3 is lost: it serves r3 to its users until it is back")
    assert edge.live.stable == "green"


def test_the_status_and_the_doctor_name_it_and_the_doctor_removes_nothing_that_it_serves(edge: Edge) -> None:
    edge.lose("before attach")
    edge.bring("3.0", keep={"warm": "0s"})
    text = render(status_of(edge.house, "shop"), edge.world.clock.now())
    assert "problem: the proxy of edge3 is lost since " in text
    doctor.fix(edge.house, None)
    assert edge.running() == {2, 3}
    assert edge.differences() == ["r2 (green) is left over"]
    edge.back()
    bring_back(edge.house, "shop")
    doctor.fix(edge.house, None)
    assert edge.running() == {3}
    assert edge.differences() == []


def test_the_next_deploy_brings_it_back_first(edge: Edge) -> None:
    edge.lose("before attach")
    edge.bring("3.0")
    edge.back()
    assert edge.bring("4.0").exit is Exit.DONE
    assert edge.world.lost == {}


def test_nobody_is_brought_back_beside_a_rollout_and_none_that_does_not_respond(edge: Edge) -> None:
    edge.lose()
    bring_back(edge.house, "shop")
    assert list(edge.world.lost) == ["edge3"]
    edge.back()
    with locked(edge.house, "shop", "somebody else"):
        bring_back(edge.house, "shop")
    assert list(edge.world.lost) == ["edge3"]
    bring_back(edge.house, "shop")
    assert edge.world.lost == {}
    assert edge.told("note")[-1]["text"] == "the proxy of edge3 is back: it was brought up to date"


def test_the_keeper_brings_it_back_and_keeps_what_it_serves_until_then(edge: Edge) -> None:
    edge.lose("before attach")
    assert edge.bring("3.0", keep={"warm": "10s"}).exit is Exit.DONE
    keeper = Looks(edge)
    edge.world.clock.sleep(11)
    keeper.look(3)
    assert edge.running() == {2, 3}, "the time is over for which r2 was kept warm, and users of edge3 are on it"
    edge.back()
    keeper.look(1)
    assert edge.world.lost == {}
    keeper.look(2)
    assert edge.running() == {3}
