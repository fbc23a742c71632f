"""What people ask for, on drivers in memory: endings, exit codes, books."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployer.app import operations, plans, queries
from deployer.app.operations.execution import run_of
from deployer.app.status import status_of
from deployer.core.clock import Deadline
from deployer.core.errors import Detached, Exit, Locked, LockLost, Refused
from deployer.engine import lease_renewer
from deployer.model import Live
from deployer.planning.orders import RolloutResult
from deployer.planning.steps import Share
from tests.house import REPOSITORY, Scene, request


@pytest.fixture
def scene(state: Path) -> Iterator[Scene]:
    scene = Scene(state)
    with scene.house:
        yield scene


def test_first_deploy_goes_straight_to_everyone(scene: Scene) -> None:
    ending = scene.deploy("1.0", "canary")
    assert (ending.outcome, ending.exit) == ("done", Exit.DONE)
    assert scene.live.stable == "blue"
    assert scene.versions("blue") == ["1.0", "1.0"]
    assert "sample" not in scene.kinds()


def test_the_same_release_again_is_nothing_to_do(scene: Scene) -> None:
    scene.deploy("1.0")
    ending = scene.deploy("1.0")
    assert ending.exit == Exit.DONE
    assert "nothing to do" in ending.text
    assert len(scene.house.store.rollouts.of("shop")) == 1
    assert len(scene.house.store.releases.of("shop")) == 1


def test_the_same_release_with_an_instance_missing_is_brought_out_again(scene: Scene) -> None:
    scene.deploy("1.0")
    scene.world.instances.pop("shop-r1-2")
    ending = scene.deploy("1.0")
    assert (ending.outcome, ending.rollout) == ("done", 2)
    assert scene.versions(scene.live.stable) == ["1.0", "1.0"]


def test_canary_raises_the_share_and_keeps_the_old_one_warm(scene: Scene) -> None:
    scene.deploy("1.0")
    ending = scene.deploy("2.0", "canary", options={"percent": 10})
    assert ending.outcome == "done"
    shares = [live.share for live in scene.world.history if live.rollout == 2]
    assert list(dict.fromkeys(shares)) == [1000, 2500, 5000, 10000, 0]
    assert scene.versions("green") == ["2.0", "2.0"]
    assert scene.versions("blue") == ["1.0", "1.0"]
    assert scene.house.store.services.get("shop").warm == 1


def test_a_worse_release_is_taken_back_by_the_verdict(scene: Scene) -> None:
    scene.deploy("1.0")
    scene.world.worse = {"2.0"}
    ending = scene.deploy("2.0", "canary", options={"percent": 10})
    assert (ending.outcome, ending.exit) == ("reverted", Exit.VERDICT)
    assert scene.versions("green") == []
    assert scene.live.share == 0
    assert scene.house.store.releases.get("shop", 2).status == "failed"
    verdict = next(e for e in scene.events if e.kind == "verdict")
    assert verdict.data["verdict"] == "worse"


def test_a_worse_release_at_full_share_is_held_against_the_absolute_limit(scene: Scene) -> None:
    scene.deploy("1.0")
    scene.world.worse = {"2.0"}
    ending = scene.deploy("2.0", "bluegreen")
    assert (ending.outcome, ending.exit) == ("reverted", Exit.VERDICT)
    assert scene.live == Live("blue", 0, 0, 2)


def test_a_release_that_is_never_healthy_sees_no_user(scene: Scene) -> None:
    scene.deploy("1.0")
    scene.world.broken = {"2.0"}
    ending = scene.deploy("2.0", "canary")
    assert (ending.outcome, ending.exit) == ("reverted", Exit.FAILED)
    assert all(live.share == 0 for live in scene.world.history)
    failed = next(e for e in scene.events if e.kind == "step.failed")
    assert failed.data["log"] == ["last words of shop-r2-1"]
    assert scene.versions("green") == []


def test_hold_waits_for_promote(scene: Scene) -> None:
    scene.deploy("1.0")
    ending = scene.deploy("2.0", "canary", options={"percent": 10, "hold": True})
    assert (ending.outcome, ending.exit) == ("paused", Exit.DONE)
    assert scene.live.share == 1000
    assert scene.live.lease == int(scene.house.clock.now() + 86400), "it ends by itself, though no process is left"
    with pytest.raises(Locked, match="is in progress"):
        scene.deploy("3.0")
    assert operations.promote(scene.house, "shop").outcome == "done"
    assert scene.live.stable == "green"


def test_hold_then_resume_goes_on_watched(scene: Scene) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0", "canary", options={"percent": 10, "hold": True})
    scene.world.worse = {"2.0"}
    ending = operations.resume(scene.house, "shop")
    assert (ending.outcome, ending.exit) == ("reverted", Exit.VERDICT), "the further steps are judged"


def test_an_overtaken_watch_stops_at_once(scene: Scene) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0", "canary", options={"percent": 10, "hold": True})
    lock = scene.house.store.locks.take("shop", "test")
    run = run_of(scene.house, lock, scene.house.store.rollouts.get(2))
    scene.house.store.locks.break_("shop")
    lease_renewer.beat(run)
    with pytest.raises(LockLost):
        run.look()


def test_hold_pauses_at_once_at_its_share(scene: Scene) -> None:
    scene.deploy("1.0")
    scene.world.rate = 0
    ending = scene.deploy("2.0", "canary", options={"percent": 10, "hold": True})
    assert (ending.outcome, ending.exit) == ("paused", Exit.DONE)
    assert scene.live is not None
    assert (scene.live.share, scene.live.lease) == (1000, int(scene.house.clock.now() + 86400))
    kinds = [step.kind for step in scene.house.store.rollouts.get(2).plan.forward]
    assert kinds.index("approve") < kinds.index("watch"), "it is analysed once it goes on"


def test_hold_then_abort_exits_0(scene: Scene) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0", "canary", options={"percent": 10, "hold": True})
    ending = operations.stop(scene.house, "shop", "not today")
    assert (ending.outcome, ending.exit) == ("reverted", Exit.DONE)
    assert scene.house.store.rollouts.get(2).exit == Exit.ABORTED
    assert "not today" in ending.text
    assert scene.versions("green") == []


def test_replace_takes_the_unfinished_one_back_first(scene: Scene) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0", "canary", options={"percent": 10, "hold": True})
    ending = scene.deploy("3.0", "canary", replace=True)
    assert ending.outcome == "done"
    assert scene.house.store.rollouts.get(2).outcome == "reverted"
    assert scene.versions("green") == ["3.0", "3.0"]


@pytest.mark.parametrize(
    ("undecided", "outcome", "code"),
    [
        ("hold", "paused", Exit.INCONCLUSIVE),
        ("revert", "reverted", Exit.INCONCLUSIVE),
        ("proceed", "done", Exit.DONE),
    ],
)
def test_no_traffic_is_cannot_judge(scene: Scene, undecided: str, outcome: str, code: Exit) -> None:
    scene.deploy("1.0")
    scene.world.rate = 0
    manifest = {"judge": {"requests": 5, "undecided": undecided}}
    ending = scene.deploy("2.0", "canary", manifest=manifest)
    assert (ending.outcome, ending.exit) == (outcome, code)


def test_low_traffic_waits_beyond_the_step(scene: Scene) -> None:
    scene.deploy("1.0")
    scene.world.rate = 4  # 5% of 4 a second: five requests take longer than the 10 s of the step
    ending = scene.deploy("2.0", "canary")
    assert ending.outcome == "done"


def test_rollback_warm_is_one_write(scene: Scene) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0")
    scene.world.history.clear()
    ending = operations.rollback(scene.house, "shop")
    assert ending.outcome == "done"
    assert len(scene.world.history) == 1
    assert scene.live.stable == "blue"
    assert scene.house.store.releases.get("shop", 2).status == "rolled-back"
    assert scene.house.store.services.get("shop").stable == 1


def test_rollback_cold_starts_the_recorded_release(scene: Scene) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0")
    scene.deploy("3.0")  # takes the place of the warm 1.0
    scene.world.instances = {n: i for n, i in scene.world.instances.items() if i.release == 3}
    ending = operations.rollback(scene.house, "shop", to=1)
    assert ending.outcome == "done"
    assert scene.versions(scene.live.stable) == ["1.0", "1.0"]


def test_rollback_never_goes_to_a_release_that_was_rolled_back(scene: Scene) -> None:
    for version in ("1.0", "2.0", "3.0"):
        scene.deploy(version)
    operations.rollback(scene.house, "shop")
    with pytest.raises(Refused, match="was itself rolled back"):
        operations.rollback(scene.house, "shop", to=3)
    assert operations.rollback(scene.house, "shop", to=3, force=True).outcome == "done"


def test_rollback_to_a_release_leaves_an_open_rollout_and_goes_on(scene: Scene) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0")
    scene.deploy("3.0", "canary", options={"percent": 10, "hold": True})
    ending = operations.rollback(scene.house, "shop", to=1)
    assert (ending.outcome, ending.exit) == ("done", Exit.DONE)
    assert scene.versions(scene.live.stable) == ["1.0", "1.0"]
    assert "rollout 3 is in progress: rolling it back, then to r1" in [data["text"] for data in scene.told("note")]


def test_rollback_to_the_release_that_an_open_rollout_left_ends_it(scene: Scene) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0")
    scene.deploy("3.0", "canary", options={"percent": 10, "hold": True})
    assert operations.rollback(scene.house, "shop", to=2).outcome == "reverted"
    assert scene.versions(scene.live.stable) == ["2.0", "2.0"]


@pytest.mark.parametrize(("to", "why"), [(9, "there is no release r9"), (3, "r3.*never finished a rollout")])
def test_rollback_to_what_cannot_be_changes_nothing_in_an_open_rollout(scene: Scene, to: int, why: str) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0")
    scene.deploy("3.0", "canary", options={"percent": 10, "hold": True})
    before = scene.live
    with pytest.raises(Refused, match=why):
        operations.rollback(scene.house, "shop", to=to)
    assert scene.live == before
    assert scene.house.store.rollouts.in_progress("shop") is not None


def test_rollback_without_a_good_release_before(scene: Scene) -> None:
    scene.deploy("1.0")
    with pytest.raises(Refused, match="no good release before"):
        operations.rollback(scene.house, "shop")


def test_rollback_of_an_unfinished_rollout_takes_it_back(scene: Scene) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0", "canary", options={"percent": 10, "hold": True})
    ending = operations.rollback(scene.house, "shop")
    assert (ending.outcome, ending.exit) == ("reverted", Exit.DONE)
    assert scene.live == Live("blue", 0, 0, 2)


def test_rollback_of_an_unfinished_rollout_does_not_wait_for_a_lock_that_it_does_not_need(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that drove the rollout may have notices to send after its end."""
    scene.deploy("1.0")
    scene.deploy("2.0", "canary", options={"percent": 10, "hold": True})
    ended = RolloutResult("reverted", Exit.DONE, "r2 was rolled back", 2)
    monkeypatch.setattr("deployer.app.operations.rollbacks.stop", lambda *_: ended)
    held, began = scene.house.store.locks.take("shop", "canary of 2.0"), scene.world.clock.at
    assert operations.rollback(scene.house, "shop", to=1) == ended
    assert scene.world.clock.at == began
    scene.house.store.locks.release(held)


def test_a_signal_takes_the_rollout_back(scene: Scene) -> None:
    scene.deploy("1.0")
    scene.house.stop.asked.set()
    ending = scene.deploy("2.0", "canary")
    assert (ending.outcome, ending.exit) == ("reverted", Exit.ABORTED)


def test_a_signal_leaves_the_rollout_to_whoever_resumes_it(scene: Scene) -> None:
    scene.deploy("1.0")
    scene.house.stop.detach = True
    scene.world.tick = lambda what: scene.house.stop.asked.set() if what.startswith("after set_traffic") else None
    with pytest.raises(Detached, match=r"rollout 2 is left .* within 30 s") as left:
        scene.deploy("2.0", "canary")
    assert left.value.exit == Exit.ABORTED
    assert scene.live is not None
    assert (scene.live.share, scene.live.lease) == (500, int(scene.house.clock.now() + 30))
    assert scene.house.store.rollouts.get(2).outcome is None
    assert scene.house.store.locks.read("shop") is None
    scene.world.tick = lambda _what: None
    scene.house.stop.asked.clear()
    assert operations.resume(scene.house, "shop").outcome == "done"


def test_a_failed_update_playbook_is_a_failed_step(scene: Scene) -> None:
    scene.deploy("1.0")
    drivers = scene.world.drivers()
    drivers.playbooks.fails.add("migrate.yml")  # type: ignore[attr-defined]
    scene.house.wire = lambda _m, _f, _ms: drivers
    ending = scene.deploy("2.0", manifest={"update": ["migrate.yml"], "hooks": {"on_reverted": ["tell.yml"]}})
    assert (ending.outcome, ending.exit) == ("reverted", Exit.FAILED)
    assert "migrate.yml" in ending.text
    assert drivers.playbooks.played == ["migrate.yml", "tell.yml"]  # type: ignore[attr-defined]


def test_a_second_deploy_is_refused_with_who_and_why(scene: Scene) -> None:
    scene.deploy("1.0")
    lock = scene.house.store.locks.take("shop", "canary of 2.0")
    with pytest.raises(Locked, match=r"being changed by .*canary of 2\.0"):
        scene.deploy("3.0")
    scene.house.store.locks.release(lock)


def test_of_fifty_at_once_one_gets_the_lock(scene: Scene) -> None:
    won: list[int] = []
    refused: list[int] = []

    def attempt(n: int) -> None:
        try:
            scene.house.store.locks.take("shop", str(n))
            won.append(n)
        except Locked:
            refused.append(n)

    threads = [threading.Thread(target=attempt, args=(n,)) for n in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert len(refused) == 49


def test_an_overtaken_owner_can_write_nothing(scene: Scene) -> None:
    old = scene.house.store.locks.take("shop", "first")
    scene.house.store.locks.break_("shop")
    new = scene.house.store.locks.take("shop", "second")
    assert new.token > old.token
    with pytest.raises(LockLost):
        scene.house.store.services.clear_warm(old)
    with pytest.raises(LockLost):
        scene.house.store.locks.renew(old)


def test_the_pulse_renews_the_lease(scene: Scene) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0", "canary", options={"percent": 10, "hold": True})
    lock = scene.house.store.locks.take("shop", "test")
    run = run_of(scene.house, lock, scene.house.store.rollouts.get(2))
    run.traffic.give(Share(share=1000, deadline=5), Deadline.after(scene.world.clock, 5))
    before = scene.live.lease
    scene.world.clock.sleep(10)
    lease_renewer.beat(run)
    assert scene.live.lease == before + 10
    scene.house.store.locks.release(lock)


def test_status_history_show_and_plan_read_what_happened(scene: Scene) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0", "canary", options={"percent": 10, "hold": True}, message="faster basket")
    status = status_of(scene.house, "shop")
    assert (status.stable_version, status.candidate_version, status.share) == ("1.0", "2.0", 1000)
    assert [e.role for e in status.environments] == ["stable", "candidate"]
    assert status.problems == ()
    row = queries.history(scene.house, "shop").rollouts[0]
    assert (row.outcome, row.message) == ("paused", "faster basket")
    shown = queries.show(scene.house, 2)
    assert {s.state for s in shown.steps} >= {"done", "waiting"}
    operations.stop(scene.house, "shop")
    proposal = operations.propose(scene.house, request("3.0", "canary", REPOSITORY, manifest={"env": {"A": "1"}}))
    explained = plans.explain(proposal)
    assert "env.A: unset → 1" in explained.changes
    assert explained.release == 3
    assert len(scene.house.store.releases.of("shop")) == 2, "a plan records nothing"


def test_down_leaves_nothing(scene: Scene) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0")
    operations.down(scene.house, "shop")
    assert scene.world.instances == {}
    assert "shop" not in scene.world.live
    assert scene.deploy("2.0").outcome == "done"


def test_instances_at_other_ports_give_none_of_these_back(scene: Scene) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0")  # 1.0 is warm, and makes room for 3.0, but elsewhere
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        taken = other.getsockname()[1]
        scene.house.ports = range(taken, taken + 1)
        before = scene.live
        with pytest.raises(Refused, match=rf"needs 2 more ports, but of {taken}-{taken} only 0 are free"):
            scene.deploy("3.0")
    assert scene.live == before
