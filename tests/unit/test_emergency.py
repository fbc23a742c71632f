"""The emergency path without a proxy: what it reads, what it edits, what it imports, and how it is written down."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployer import start
from deployer.app import operations
from deployer.app.operations import reconcile
from deployer.app.operations.execution import locked, run_of
from deployer.core.clock import Deadline
from deployer.core.errors import Exit, Refused, TakenBack
from deployer.core.filelock import FileLock
from deployer.drivers.traffic.haproxy import live_value, naming
from deployer.emergency import argv, endpoint, proxy_client, record, value_edits
from deployer.emergency.move import _locked
from deployer.engine import Drive, drive
from deployer.model import FULL, Live, Server, other, release_of
from deployer.planning.steps import Share
from tests.house import Scene

LIVES = st.builds(
    Live,
    stable=st.sampled_from(["blue", "green"]),
    share=st.integers(0, FULL // 2),
    lease=st.integers(0, 2**40 - 1),
    rollout=st.integers(0, 10**9),
    budget=st.integers(0, 10**8),
    baseline=st.integers(0, FULL // 2),
    warm=st.integers(0, 10**6),
    token=st.integers(0, 10**12),
)


# -- the value


@given(LIVES, st.integers(0, 10**8))
def test_the_edits_of_the_text_are_those_of_the_value(live: Live, spent: int) -> None:
    parts = value_edits.fields(live_value.encode(live, spent))
    assert parts is not None
    assert value_edits.on_trial(parts) == bool(live.share or live.baseline)
    back, gone = value_edits.taken_back(parts), value_edits.gone_back(parts)
    assert live_value.decode("shop", back) == replace(live, share=0, lease=0, baseline=0)
    assert live_value.decode("shop", gone) == replace(
        live, stable=other(live.stable), share=0, lease=0, baseline=0, warm=0
    )
    assert live_value.spent(back) == live_value.spent(gone) == spent
    assert {live_value.decode("shop", text).token for text in (back, gone)} == {live.token}, "its owner is the same"


@pytest.mark.parametrize(
    "text", ["", "blue", "blue,0,0,7", "blue,0,0,7,0,0,0", "red,0,0,7,0,0,0,0", "blue,0,-1,7,0,0,0,0"]
)
def test_a_value_of_somebody_else_is_left_to_the_whole_command(text: str) -> None:
    assert value_edits.fields(text) is None


def _append(called: list[Any], arguments: Any, code: int) -> int:
    called.append(arguments)
    return code


def test_the_lock_of_the_driver_holds_off_an_emergency_and_the_other_way_round(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with FileLock(file).held(5.0):
        assert _locked(str(file)) is None
    descriptor = _locked(str(file))
    assert descriptor is not None
    assert not FileLock(file).try_take()
    os.close(descriptor)
    assert FileLock(file).try_take()


def test_the_name_of_an_instance_tells_its_release() -> None:
    assert release_of("shop", "shop-r41-2") == 41
    assert [release_of("shop", n) for n in ("shop-r-2", "shop-rx-2", "cart-r41-2", "shop-r41", "shop-r2-r3-1")] == [
        0
    ] * 5


# -- what is asked


def arguments(text: str, state_folder: Path) -> argv.Arguments | None:
    return argv.read([*text.split(), "--state", str(state_folder)])


@pytest.fixture
def cards(tmp_path: Path) -> Path:
    (tmp_path / endpoint.FOLDER).mkdir()
    Path(endpoint.path(str(tmp_path), "shop")).write_text(endpoint.Card("/s", "/m", "/l").text())
    return tmp_path


def test_a_card_is_read_as_it_was_written(cards: Path) -> None:
    read = endpoint.read(str(cards), "shop")
    assert read is not None
    assert (read.socket, read.map, read.lock) == ("/s", "/m", "/l")
    assert endpoint.read(str(cards), "cart") is None


@pytest.mark.parametrize("broken", ["", "socket /s\n", "nonsense\n", "socket /s\nmap\nlock /l\n"])
def test_a_broken_card_is_none(cards: Path, broken: str) -> None:
    Path(endpoint.path(str(cards), "shop")).write_text(broken)
    assert endpoint.read(str(cards), "shop") is None


def test_the_service_is_the_named_one_that_of_the_manifest_or_the_only_one(
    cards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(cards)

    def service(text: str) -> str | None:
        found = arguments(text, cards)
        return found.service if found else None

    assert service("rollback") == "shop"
    assert service("abort --service cart -m bad") == "cart"
    assert service("rollback --service=cart") == "cart"
    (cards / "deploy.yml").write_text("# mine\nservice: web  # the site\nimage: x\n")
    assert service("rollback") == "web"
    assert service("rollback -d staging") == "web-staging"
    (cards / "deploy.yml").write_text("service: &name web\n")
    assert service("rollback") is None
    (cards / "deploy.yml").unlink()
    Path(endpoint.path(str(cards), "web")).write_text("")
    assert service("rollback") is None, "which of the two?"


@pytest.mark.parametrize(
    "text",
    [
        "rollback --help",
        "rollback --to 3",
        "rollback --force --service shop",
        "promote --service shop",
        "up",
        "",
        "rollback --service ../shop",
        "rollback --service Shop",
        "rollback shop",
    ],
)
def test_whatever_is_not_plain_is_left_to_the_whole_command(cards: Path, text: str) -> None:
    assert arguments(text, cards) is None


def test_nothing_is_imported_that_the_interpreter_does_not_need_itself() -> None:
    """An import is what takes the time: what moves users has the interpreter's own modules and three C modules."""
    code = (
        "import sys; before = set(sys.modules)\n"
        "import deployer.start\n"
        "from deployer.emergency import argv, endpoint, move, proxy_client, record, value_edits\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    ours = {name for name in done.stdout.split() if name.partition(".")[0] == "deployer"}
    assert "deployer.emergency.move" in ours
    assert set(done.stdout.split()) - ours <= {"__future__", "_socket", "fcntl", "pwd", "time"}


# -- the engine stands down


def at_a_share(scene: Scene) -> Drive:
    """A rollout of 2.0 that has given its candidate 10%, as the engine sees it."""
    scene.deploy("1.0")
    ending = scene.deploy("2.0", "canary", options={"percent": 10, "hold": True})
    assert ending.outcome == "paused"
    assert scene.live.share == 1000
    rollout = scene.house.store.rollouts.in_progress("shop")
    assert rollout is not None
    lock = scene.house.store.locks.take("shop", "test")
    run = run_of(scene.house, lock, rollout)
    run.traffic.given = scene.live
    return run


def emergency(scene: Scene) -> None:
    """What the emergency path does at the proxy."""
    parts = value_edits.fields(live_value.encode(scene.live))
    assert parts is not None
    edit = value_edits.taken_back if value_edits.on_trial(parts) else value_edits.gone_back
    scene.world.live["shop"] = live_value.decode("shop", edit(parts))
    scene.world.history.append(scene.live)


def test_users_who_were_taken_back_at_the_proxy_are_not_given_to_the_candidate_again(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    run = at_a_share(scene)
    emergency(scene)
    with pytest.raises(TakenBack):
        run.look()
    moves: tuple[Callable[[], object], ...] = (
        lambda: run.traffic.give(Share(share=5000, deadline=5), Deadline.after(scene.world.clock, 5)),
        lambda: run.traffic.write(Live("green"), Deadline.after(scene.world.clock, 5)),
    )
    for move in moves:
        with pytest.raises(TakenBack):
            move()
    run.traffic.renew_lease()
    assert scene.live.share == 0


@pytest.mark.parametrize("how", [operations.resume, operations.promote])
def test_whoever_goes_on_with_a_rollout_that_was_taken_back_takes_it_back(tmp_path: Path, how: object) -> None:
    scene = Scene(tmp_path)
    run = at_a_share(scene)
    scene.house.store.locks.release(run.lock)
    emergency(scene)
    assert callable(how)
    ending = how(scene.house, "shop")
    assert (ending.outcome, ending.exit) == ("reverted", Exit.ABORTED)
    assert (scene.live.stable, scene.live.share) == ("blue", 0)
    assert scene.versions("green") == []


# -- warm, and written down


def test_the_value_says_what_is_warm_from_the_promotion_until_it_is_taken_away(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.deploy("1.0")
    assert scene.live.warm == 0
    scene.deploy("2.0")
    assert (scene.live.stable, scene.live.warm) == ("green", 1)
    seen = []
    scene.world.tick = lambda what: seen.append((what, scene.live.warm)) if "remove shop-r1" in what else None
    scene.deploy("3.0")
    assert seen
    assert all(not warm for _, warm in seen), "somebody could have gone back to what was being removed"
    assert (scene.live.stable, scene.live.warm) == ("blue", 2)


def test_nothing_is_warm_that_a_rollback_would_not_choose(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.deploy("1.0")
    scene.deploy("2.0")
    operations.rollback(scene.house, "shop")
    assert scene.live.warm == 0, "2.0 was left because it was bad"
    scene.deploy("3.0")
    assert scene.live.warm == 1
    scene.deploy("4.0", manifest={"keep": {"warm": "0s"}})
    assert scene.live.warm == 0, "it was removed at once"


def gone_back(scene: Scene) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0")
    emergency(scene)
    assert (scene.live.stable, scene.live.warm) == ("blue", 0)


@pytest.mark.parametrize("how", [operations.rollback, operations.resume])
def test_a_rollback_at_the_proxy_is_written_down_by_whoever_comes_next(tmp_path: Path, how: object) -> None:
    scene = Scene(tmp_path)
    gone_back(scene)
    (tmp_path / endpoint.FOLDER).mkdir()
    record.write(str(tmp_path), "shop", "rollback", "2.0 is\nslow", last=True)
    moves = len(scene.world.history)
    assert callable(how)
    ending = how(scene.house, "shop")
    assert (ending.outcome, ending.text) == ("done", "r1 (1.0) is live")
    assert {live.stable for live in scene.world.history[moves:]} == {"blue"}, "users stay where they are"
    newest = scene.house.store.rollouts.of("shop")[0]
    assert (newest.strategy, newest.origin, newest.release, newest.message) == ("rollback", 2, 1, "2.0 is slow")
    store = scene.house.store
    assert (store.services.get("shop").stable, store.services.get("shop").warm) == (1, 2)
    assert [r.status for r in store.releases.of("shop")] == ["rolled-back", "good"]
    assert record.read(str(tmp_path), "shop") is None


def test_it_is_written_down_with_the_engine_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(tmp_path)
    gone_back(scene)
    monkeypatch.setattr("tests.memory.MemoryRuntime.instances", lambda *_: pytest.fail("the engine was asked"))
    assert operations.rollback(scene.house, "shop").exit == Exit.DONE


def test_a_deploy_after_it_goes_on_from_what_users_are_on(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    gone_back(scene)
    ending = scene.deploy("3.0")
    assert ending.outcome == "done"
    kinds = [(r.strategy, r.origin, r.release) for r in scene.house.store.rollouts.of("shop")]
    assert kinds[:2] == [("bluegreen", 1, 3), ("rollback", 2, 1)]


def test_a_rollout_that_ends_by_itself_is_no_rollback_to_write_down(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.deploy("1.0")
    scene.deploy("2.0")
    drivers = scene.world.drivers()
    assert reconcile.unwritten(scene.house, drivers, "shop") == 0
    scene.world.servers[("shop", "green")]["stranger"] = Server("stranger", "127.0.0.1:1")
    assert reconcile.unwritten(scene.house, drivers, "shop") == 0, "two releases in one colour say nothing"
    with locked(scene.house, "shop", "test") as lock:
        assert reconcile.record_rollback(scene.house, lock, drivers, "shop") is None


def test_an_abort_whose_rollout_saw_it_first_is_done_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(tmp_path)
    on_paper = SimpleNamespace(time=scene.world.clock.now, monotonic_ns=time.monotonic_ns)
    monkeypatch.setattr("deployer.emergency.record.time", on_paper)
    run = at_a_share(scene)
    (tmp_path / endpoint.FOLDER).mkdir()
    record.write(str(tmp_path), "shop", "abort", "wrong day", last=False)
    emergency(scene)
    reverted = drive(run)  # the process that was in progress, before anybody could ask it
    scene.house.store.locks.release(run.lock)
    assert (reverted.outcome, reverted.exit) == ("reverted", Exit.ABORTED)
    assert "wrong day" in reverted.text
    ending = operations.stop(scene.house, "shop", "wrong day")
    assert (ending.outcome, ending.exit, ending.text) == ("reverted", Exit.DONE, reverted.text)
    assert record.read(str(tmp_path), "shop") is None
    with pytest.raises(Refused, match="no rollout in progress"):
        operations.stop(scene.house, "shop")


def test_a_rollback_that_took_a_candidate_back_leaves_the_release_before_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[list[str]] = []
    monkeypatch.setattr("sys.argv", ["deploy", "rollback", "--service", "shop"])
    monkeypatch.setattr("deployer.emergency.first", lambda _arguments: "rolled back")
    monkeypatch.setattr("deployer.cli.main", lambda arguments: _append(called, arguments, 0))
    assert start.main() == 0
    assert called == [["abort", "--service", "shop"]]
    monkeypatch.setattr("deployer.emergency.first", lambda _arguments: "gone back")
    monkeypatch.setattr("deployer.cli.main", lambda arguments: _append(called, arguments, 5))
    assert start.main() == 8
    assert called[1] == ["rollback", "--service", "shop"]


def test_both_ways_know_which_server_is_no_instance() -> None:
    """The quick way imports nothing of the driver, so the name runs in both."""
    assert proxy_client.NO_INSTANCES == naming.NO_INSTANCES
