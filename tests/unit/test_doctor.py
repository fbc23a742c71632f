"""`deploy doctor`: every difference is told with its remedy; `--fix` puts right what is safe, and only that."""

from __future__ import annotations

import functools
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from deployer.app import doctor, operations
from deployer.core.errors import DriverFailed, Refused
from deployer.drivers.traffic.haproxy import binary
from deployer.emergency import record as notes
from deployer.model import Instance, Live, SecretText, Server
from deployer.store.sqlite import migrate
from deployer.views.data import DoctorView, Finding
from tests import tiers
from tests.house import Scene, house
from tests.memory import MemoryChecks, MemoryRuntime, MemoryTraffic, World
from tests.unit.test_adopt import FAST, stand

SECRETS = {"secrets": {"TOKEN": {"env": "TOKEN"}}}
version_of = functools.cache(binary.version_of)


@dataclass(frozen=True)
class Stood:
    """A service that was deployed once for all tests: where its state folder is, what is in it, and its world."""

    folder: Path
    content: Path
    world: World


@pytest.fixture(scope="module")
def stood() -> Iterator[Stood]:
    with tempfile.TemporaryDirectory(prefix="dp", dir=FAST) as around:
        folder, content = Path(around) / "state", Path(around) / "content"
        folder.mkdir(mode=0o700)
        made = Scene(folder)
        made.deploy("1.0")
        made.deploy("2.0")
        made.house.store.database.close()
        folder.rename(content)
        yield Stood(folder, content, made.world)


@pytest.fixture
def scene(stood: Stood) -> Iterator[Scene]:
    """Yield a service on which 2.0 is live (green) and 1.0 warm (blue)."""
    shutil.copytree(stood.content, stood.folder)
    made = Scene(stood.folder, stood.world.copy())
    yield made
    made.house.store.database.close()
    shutil.rmtree(stood.folder)


@pytest.fixture(autouse=True)
def _haproxy_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Know the version of the program on this host after the first look: there are hundreds."""
    monkeypatch.setattr(binary, "version_of", version_of)


def told(scene: Scene, what: str = "shop") -> list[Finding]:
    """What is told of the service, but for that all is well."""
    return [f for f in doctor.examine(scene.house, None).findings if f.what == what and f.level != "ok"]


def only(scene: Scene, what: str = "shop") -> Finding:
    (finding,) = told(scene, what)
    return finding


def fix(scene: Scene) -> DoctorView:
    """Fix, and check that a second time finds nothing more to do."""
    view = doctor.fix(scene.house, None)
    assert [f for f in doctor.fix(scene.house, None).findings if f.level == "fixed"] == []
    return view


def fixed(view: DoctorView) -> list[str]:
    return [f.fix for f in view.findings if f.level == "fixed"]


def gone(scene: Scene, name: str) -> None:
    scene.world.instances.pop(name)
    scene.world.carried.pop(name)


def add(scene: Scene, name: str, **like: Any) -> Instance:
    """Let an instance of ours stand of which no record knows."""
    sample = next(i for i in scene.world.instances.values() if i.colour == "green")
    made = replace(sample, name=name, runtime_id=f"memory:{name}", address="127.0.0.1:29999", **like)
    scene.world.instances[name] = made
    scene.world.carried[name] = replace(scene.world.carried[sample.name], instance=made)
    return made


def test_nothing_is_wrong_with_what_is_right(scene: Scene) -> None:
    assert told(scene) == []
    view = doctor.examine(scene.house, None)
    assert "r2 (2.0) is live; state database, runtime and proxy agree" in [f.text for f in view.findings]
    before = dict(scene.world.instances), scene.live
    assert fixed(fix(scene)) == []
    assert (scene.world.instances, scene.live) == before


# -- what is missing


def test_an_instance_of_stable_that_is_gone_is_started_again(scene: Scene) -> None:
    was = scene.world.instances["shop-r2-2"]
    gone(scene, "shop-r2-2")

    assert [(f.level, f.text) for f in told(scene)] == [
        ("bad", "shop-r2-2 is gone, of r2 (2.0), which is stable"),
        ("warn", f"the proxy has shop-r2-2 ({was.address}), which does not exist"),
    ]
    assert fixed(fix(scene)) == ["start what is missing of r2 (green)"]
    assert scene.world.instances["shop-r2-2"].address == was.address, "an instance keeps its address"
    assert scene.world.up("shop", "green") == ["shop-r2-1", "shop-r2-2"]
    assert told(scene) == []


def test_a_warm_instance_that_is_gone_is_only_a_warning_and_comes_back_too(scene: Scene) -> None:
    gone(scene, "shop-r1-1")

    assert {f.level for f in told(scene)} == {"warn"}
    fix(scene)
    assert told(scene) == []
    assert operations.rollback(scene.house, "shop").outcome == "done"


def test_an_instance_that_ended_is_started_again(scene: Scene) -> None:
    scene.world.end("shop-r2-1")

    assert [f.text for f in told(scene)] == ["shop-r2-1 is exited, 0 restarts"]
    fix(scene)
    assert told(scene) == []


def test_an_instance_that_somebody_else_has_changed_is_told(scene: Scene) -> None:
    there = scene.world.instances["shop-r2-1"]
    scene.world.instances["shop-r2-1"] = replace(there, drift="its image was changed")
    assert [(f.level, f.text) for f in told(scene)] == [
        ("bad", "shop-r2-1 is not what its release says: its image was changed")
    ]


def test_an_instance_that_does_not_get_healthy_is_told_and_gets_no_user(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone(scene, "shop-r2-2")
    monkeypatch.setattr(MemoryChecks, "probe", lambda *_: "HTTP 503, expected 200-399")
    attached: list[str] = []
    monkeypatch.setattr(MemoryTraffic, "attach", lambda *_: attached.append("attached"))
    view = doctor.fix(scene.house, None)

    assert "not fixed: shop-r2-1 is not healthy: HTTP 503, expected 200-399" in "\n".join(f.text for f in view.findings)
    assert attached == []
    assert scene.house.store.locks.read("shop") is None


def test_secrets_that_are_gone_are_named_when_an_instance_needs_them(scene: Scene) -> None:
    scene.deploy("3.0", manifest=SECRETS, secrets=lambda: {"TOKEN": SecretText("t")})
    (scene.house.store.folder / "secrets" / "shop" / "r3.json").unlink()
    gone(scene, "shop-r3-1")
    view = doctor.fix(scene.house, None)

    assert any("not fixed: the secrets of shop r3 cannot be read" in f.text for f in view.findings)


def test_nothing_of_stable_is_left(scene: Scene) -> None:
    for name in ("shop-r2-1", "shop-r2-2"):
        gone(scene, name)
    view = "\n".join(f"{f.text} → {f.remedy}" for f in told(scene))

    assert "r2 should be live, but nothing of it is running → `deploy up` deploys it" in view
    assert "users are sent to green, where the proxy finds nothing up" in view
    assert "`deploy rollback` gives them the other environment" in view


# -- what is left over


def test_what_a_killed_deploy_left_is_removed(scene: Scene) -> None:
    add(scene, "shop-r9-1", release=2, index=9, colour="baseline")

    assert only(scene).text == "r2 (baseline) is left over"
    assert fixed(fix(scene)) == ["remove r2 (baseline)"]
    assert "shop-r9-1" not in scene.world.instances


def test_an_instance_of_another_release_beside_stable_is_drained_first(scene: Scene) -> None:
    made = add(scene, "shop-r1-3", release=1, index=3)
    scene.world.servers[("shop", "green")][made.name] = Server(made.name, made.address)
    seen: list[str] = []
    scene.world.tick = seen.append

    assert only(scene).text == "shop-r1-3 runs in green beside r2: it is garbage"
    fix(scene)
    assert told(scene) == []
    wanted = ["drain", "before remove shop-r1-3", "after detach"]
    assert [what for what in seen if what in wanted] == wanted
    assert scene.world.up("shop", "green") == ["shop-r2-1", "shop-r2-2"]


def test_half_of_an_environment_is_still_the_recorded_one(scene: Scene) -> None:
    """One instance of each of two releases in the stable colour: neither is the larger part."""
    gone(scene, "shop-r2-1")
    add(scene, "shop-r1-7", release=1, index=7)
    fix(scene)

    assert scene.house.store.services.get("shop").stable == 2
    assert sorted(scene.versions("green")) == ["2.0", "2.0"]
    assert told(scene) == []


def test_what_alone_has_users_is_never_removed(scene: Scene) -> None:
    """Half an environment of another release, and the only one that is up."""
    made = add(scene, "shop-r1-3", release=1, index=3)
    scene.world.servers[("shop", "green")] = {made.name: Server(made.name, made.address)}
    scene.world.end("shop-r2-1")
    scene.world.end("shop-r2-2")

    assert all(not f.fix.startswith("remove") for f in told(scene))
    doctor.fix(scene.house, None)
    assert scene.world.up("shop", "green")


def test_a_warm_environment_past_its_time_is_removed(scene: Scene) -> None:
    scene.world.clock.at += 7200

    assert only(scene).text.startswith("r1 (blue) was to be kept warm until ")
    fix(scene)
    assert told(scene) == []
    assert scene.versions("blue") == []
    record = scene.house.store.services.get("shop")
    assert (record.warm, scene.live.warm) == (0, 0), "no emergency goes back to what is gone"


def test_a_warm_environment_of_which_nothing_stands_is_forgotten(scene: Scene) -> None:
    for name in ("shop-r1-1", "shop-r1-2"):
        gone(scene, name)

    assert "r1 should be warm, but nothing of it is running" in "\n".join(f.text for f in told(scene))
    fix(scene)
    assert told(scene) == []
    assert scene.house.store.services.get("shop").warm == 0


def test_ports_that_nobody_has_are_given_back(scene: Scene) -> None:
    port = scene.port(7, 1)

    assert only(scene).text == f"ports are held for instances that are gone: {port}"
    fix(scene)
    assert not scene.house.store.ports.is_held(port)


# -- the proxy


def test_a_server_without_an_instance_is_forgotten(scene: Scene) -> None:
    scene.world.servers[("shop", "green")]["shop-r8-1"] = Server("shop-r8-1", "127.0.0.1:28888")

    assert only(scene).text == "the proxy has shop-r8-1 (127.0.0.1:28888), which does not exist"
    fix(scene)
    assert list(scene.world.servers[("shop", "green")]) == ["shop-r2-1", "shop-r2-2"]


def test_an_instance_that_the_proxy_does_not_know_is_attached(scene: Scene) -> None:
    scene.world.servers[("shop", "green")].pop("shop-r2-2")

    assert only(scene).text == "the proxy does not know shop-r2-2"
    assert fixed(fix(scene)) == ["let the proxy know r2 (green)"]
    assert scene.world.up("shop", "green") == ["shop-r2-1", "shop-r2-2"]


def test_a_worker_that_does_something_else_than_the_files_say_is_mended(scene: Scene) -> None:
    scene.world.torn["shop"] = Live("blue", 500, 0, 2)

    assert "its files say" in only(scene).text
    assert fixed(fix(scene)) == ["make the proxy and its files agree"]


def test_a_service_that_the_proxy_forgot_gets_its_users_back(scene: Scene) -> None:
    warm = scene.live.warm
    MemoryTraffic(scene.world).forget("shop", None)  # type: ignore[arg-type]

    assert "the proxy does not know shop: no traffic goes to r2" in [f.text for f in told(scene)]
    fix(scene)
    assert scene.live.stable == "green"
    assert scene.live.share == 0
    assert warm == 1
    assert scene.world.up("shop", "green") == ["shop-r2-1", "shop-r2-2"]
    assert told(scene) == []


def test_nothing_is_deployed_over_a_service_that_the_proxy_forgot(scene: Scene) -> None:
    MemoryTraffic(scene.world).forget("shop", None)  # type: ignore[arg-type]
    there = dict(scene.world.instances)

    attempts: list[Callable[[], object]] = [
        lambda: scene.deploy("3.0"),
        lambda: operations.rollback(scene.house, "shop"),
    ]
    for attempt in attempts:
        with pytest.raises(Refused, match=r"r2 \(green\) is live by the records .* live value is lost"):
            attempt()
        assert scene.world.instances == there

    fix(scene)
    assert scene.deploy("3.0").outcome == "done"


def test_a_proxy_that_cannot_be_asked_is_a_finding(scene: Scene) -> None:
    scene.world.silent_until = scene.world.clock.at + 10

    assert only(scene).text == "the proxy does not respond"
    assert scene.world.instances


# -- shares


def hold(scene: Scene) -> None:
    scene.deploy("3.0", "canary", options={"hold": True})
    assert scene.live.share


def test_a_share_for_which_nothing_is_up_is_taken_back_also_in_an_open_rollout(scene: Scene) -> None:
    hold(scene)
    for name in ("shop-r3-1", "shop-r3-2"):
        gone(scene, name)
    rollout = scene.house.store.rollouts.in_progress("shop")

    findings = {f.text: f for f in told(scene)}
    share = next(f for text, f in findings.items() if "where nothing is up" in text)
    assert share.level == "bad"
    doctor.fix(scene.house, None)
    assert scene.live.share == 0
    assert rollout is not None
    assert scene.house.store.rollouts.in_progress("shop") is not None, "what becomes of it is for a person to say"
    assert operations.stop(scene.house, "shop").outcome == "reverted"
    assert told(scene) == [], "the ports of the instances that were gone are given back too"


def test_a_share_without_a_rollout_is_ended(scene: Scene) -> None:
    scene.world.live["shop"] = Live("green", 500, 0, 2)

    assert "5% of the users are sent to blue, but no rollout is in progress" in [f.text for f in told(scene)]
    fix(scene)
    assert scene.live.share == 0


def test_a_lease_that_is_over_is_tidied_up(scene: Scene) -> None:
    scene.world.live["shop"] = Live("green", 500, int(scene.world.clock.at) - 5, 2)

    assert "is over since" in only(scene).text
    fix(scene)
    assert scene.live == Live("green", rollout=2)


def test_a_lease_that_is_over_in_a_rollout_is_for_who_resumes_it(scene: Scene) -> None:
    hold(scene)
    scene.world.live["shop"] = replace(scene.live, lease=int(scene.world.clock.at) - 5)
    before = scene.live
    doctor.fix(scene.house, None)

    assert scene.live == before
    assert any("`deploy resume`" in f.remedy for f in told(scene))


# -- rollouts and hands


def test_an_unfinished_rollout_is_left_to_a_person(scene: Scene) -> None:
    hold(scene)

    assert [(f.level, f.remedy) for f in told(scene)] == [
        ("warn", "`deploy resume`, `deploy promote` or `deploy abort`")
    ]
    before = dict(scene.world.instances), scene.live
    assert fixed(fix(scene)) == []
    assert (scene.world.instances, scene.live) == before


def test_what_somebody_works_at_is_not_touched(scene: Scene) -> None:
    gone(scene, "shop-r2-2")
    lock = scene.house.store.locks.take("shop", "canary of 3.0")
    before = dict(scene.world.instances)
    findings = told(scene)
    view = doctor.fix(scene.house, None)

    assert {f.fix for f in findings} == {""}
    assert all("is at work; look again after it" in f.remedy for f in findings)
    assert scene.world.instances == before
    assert fixed(view) == []
    scene.house.store.locks.release(lock)
    assert fixed(doctor.fix(scene.house, None)) == ["start what is missing of r2 (green)"]


def test_somebody_who_takes_the_lock_first_is_not_disturbed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    gone(scene, "shop-r2-2")
    from deployer.app.doctor import fixer

    original = fixer.locked  # type: ignore[attr-defined]

    def late(*arguments: Any) -> object:
        scene.house.store.locks.take("shop", "canary of 3.0")
        return original(*arguments)

    monkeypatch.setattr(fixer, "locked", late)
    view = doctor.fix(scene.house, None)

    assert any(f.text.startswith("nothing was fixed: shop is being changed by") for f in view.findings)
    assert "shop-r2-2" not in scene.world.instances


def test_a_fix_that_is_overtaken_changes_nothing_more(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    gone(scene, "shop-r2-1")
    gone(scene, "shop-r2-2")

    def overtake(what: str) -> None:
        if what == "after ensure shop-r2-1":
            scene.house.store.locks.break_("shop")

    scene.world.tick = overtake
    scene.world.instances["shop-r2-3"] = replace(
        scene.world.instances["shop-r1-1"], name="shop-r2-3", release=2, index=3, colour="green", runtime_id="m:3"
    )
    view = doctor.fix(scene.house, None)

    assert any("overtaken" in f.text for f in view.findings)
    assert "shop-r2-2" not in scene.world.instances


# -- the records


def test_users_on_another_release_than_recorded_by_an_emergency(scene: Scene) -> None:
    scene.world.live["shop"] = replace(scene.live, stable="blue", warm=0)
    notes.write(str(folder_of(scene)), "shop", "rollback", "it is bad", last=True)
    before = dict(scene.world.instances)

    assert "users are on r1 (blue), r2 is recorded" in [f.text for f in told(scene)]
    assert fixed(fix(scene)) == ["write down the rollback"]
    assert scene.house.store.services.get("shop").stable == 1
    assert scene.house.store.rollouts.of("shop")[0].message == "it is bad"
    assert notes.read(str(folder_of(scene)), "shop") is None
    assert scene.world.instances == before
    assert told(scene) == []


def folder_of(scene: Scene) -> Path:
    folder = scene.house.store.folder
    (folder / "emergency").mkdir(exist_ok=True, mode=0o700)
    return folder


def test_the_note_of_an_emergency_with_nothing_left_to_do_is_deleted(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes.write(str(folder_of(scene)), "shop", "abort", "it is bad", last=True)
    assert told(scene) == [], "users may be moved just now"
    monkeypatch.setattr("deployer.app.doctor.services.NOTE_SECONDS", 0.0)

    assert "nothing is to be done" in only(scene).text
    fix(scene)
    assert notes.read(str(folder_of(scene)), "shop") is None


def test_a_store_from_an_old_backup_catches_up_with_what_runs(scene: Scene) -> None:
    """Restored to before 3.0: its instances carry what the store does not know."""
    store = scene.house.store
    backup = migrate.backup(store.folder / "deployer.db", "before")
    scene.deploy("3.0")
    live, rollouts = scene.live, store.rollouts.of("shop")
    store.database.close()
    for file in store.folder.glob("deployer.db-*"):
        file.unlink()
    backup.rename(store.folder / "deployer.db")
    scene.house = house(store.folder, scene.world, scene.events)

    texts = [f.text for f in told(scene)]
    assert "shop-r3-1 is running, but r3 is not recorded" in texts
    assert any("the proxy has a value of rollout 3, but the last one recorded is 2" in text for text in texts)
    fix(scene)
    assert told(scene) == []
    assert scene.live == live, "nothing was changed"
    assert scene.house.store.services.get("shop").stable == 3
    assert scene.deploy("4.0").rollout == rollouts[0].number + 1
    assert operations.rollback(scene.house, "shop").outcome == "done"


# -- what is not ours


def test_what_belongs_to_others_is_told_and_never_touched(scene: Scene) -> None:
    stand(scene, "shop", "theirs", "web-9:/srv/deployer")
    scene.world.instances["shop-r7-1"] = replace(scene.world.instances["shop-r2-1"], name="shop-r7-1", runtime_id="x")
    scene.world.carried["shop-r7-1"] = replace(
        scene.world.carried["shop-r1-1"], instance=scene.world.instances["shop-r7-1"]
    )
    before = dict(scene.world.instances)
    texts = [f.text for f in told(scene)]

    assert "shop-r1-1 has the name or the labels of an instance and is none: this deployer did not make it" in texts
    doctor.fix(scene.house, None)
    assert scene.world.instances["shop-r1-1"] == before["shop-r1-1"]


# -- this host


@pytest.mark.parametrize(
    ("path", "mode"), [("secrets", 0o755), ("secrets/shop/r3.json", 0o644), ("deployer.db", 0o640), (".", 0o750)]
)
def test_what_others_may_read_is_closed(scene: Scene, path: str, mode: int) -> None:
    scene.deploy("3.0", manifest=SECRETS, secrets=lambda: {"TOKEN": SecretText("t")})
    at = scene.house.store.folder / path
    at.chmod(mode)

    assert "other users may" in only(scene, "state folder").text
    fix(scene)
    assert at.stat().st_mode & 0o077 == 0
    assert told(scene, "state folder") == []


def test_secrets_of_a_release_that_is_not_recorded_are_deleted(scene: Scene) -> None:
    scene.house.vault.save("shop", 9, {"TOKEN": SecretText("t")})
    scene.house.vault.save("shop", 2, {"TOKEN": SecretText("t")})

    assert only(scene, "state folder").text == "secrets of shop r9 are kept, which is not recorded"
    fix(scene)
    assert scene.house.vault.kept("shop") == frozenset({2})


def test_half_written_files_are_deleted_when_they_are_old(scene: Scene) -> None:
    folder = scene.house.store.folder / "secrets" / "shop"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    left, fresh = folder / ".r1.json.4711.deadbeef", folder / ".r1.json.4712.deadbeef"
    for path in (left, fresh):
        path.write_text("half")
        path.chmod(0o600)
    os.utime(left, (1, 1))

    assert only(scene, "state folder").text == f"a killed process left {left}"
    fix(scene)
    assert not left.exists()
    assert fresh.exists(), "somebody may be about to rename it"


def test_images_of_no_release_are_removed(scene: Scene) -> None:
    kept = scene.house.store.releases.get("shop", 2).image_id
    scene.world.images = {kept, "sha256:old"}

    assert [f.text for f in doctor.examine(scene.house, None).findings if f.what.startswith("runtime")] == [
        "sha256:old belongs to no release"
    ] * 3, "all kinds of runtime are the same one in memory"
    fix(scene)
    assert scene.world.images == {kept}


def test_a_full_disk_and_a_clock_that_went_back_are_told(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.world.clock.at -= 3600
    monkeypatch.setattr("deployer.app.doctor.host.FREE_BYTES", 2**62)
    levels = {f.what: f.level for f in doctor.examine(scene.house, None).findings if f.level != "ok"}

    assert levels["state folder"] == "bad"
    assert levels["clock"] == "bad"


def test_a_service_that_the_proxy_serves_and_nobody_recorded(scene: Scene) -> None:
    scene.world.live["till"] = Live("blue")
    idle = [f for f in doctor.examine(scene.house, None).findings if f.what == "proxy"]
    assert [f.text for f in idle] == ["the proxy knows till, which is not recorded and of which nothing is up"]
    made = add(scene, "till-r1-1", service="till")
    scene.world.servers[("till", "blue")] = {made.name: Server(made.name, made.address)}
    serving = [f for f in doctor.examine(scene.house, None).findings if f.what in ("proxy", "till")]
    assert {(f.level, f.remedy, f.fix) for f in serving} == {("bad", "`deploy adopt` records it", "")}
    doctor.fix(scene.house, None)
    assert "till" in scene.world.live
    gone(scene, "till-r1-1")
    fix(scene)
    assert "till" not in scene.world.live


def test_what_was_fixed_is_in_the_audit_log(scene: Scene) -> None:
    gone(scene, "shop-r2-2")
    fix(scene)
    record = scene.house.store.audit_log.newest(1)[0]

    assert (record.action, record.service, record.reason) == ("fix", "shop", "start what is missing of r2 (green)")
    assert scene.house.store.audit_log.verify().problem == ""


@pytest.mark.parametrize("where", ["ensure", "attach"])
def test_a_driver_that_fails_is_told_and_the_rest_goes_on(
    scene: Scene, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise DriverFailed(f"{where} failed", "mend it")

    gone(scene, "shop-r2-2")
    port = scene.port(7, 1)
    kinds: dict[str, type] = {"ensure": MemoryRuntime, "attach": MemoryTraffic}
    monkeypatch.setattr(kinds[where], where, fails)
    view = doctor.fix(scene.house, None)

    assert any(f.text.endswith(f"not fixed: {where} failed") and f.remedy == "mend it" for f in view.findings)
    assert "give the ports back" in fixed(view)
    assert not scene.house.store.ports.is_held(port)


STRANGE = {"shop-r8-1": Server("shop-r8-1", "127.0.0.1:1")}
Spoil = Callable[[Scene], object]
SPOILS: dict[str, Spoil] = {
    "instance gone": lambda s: gone(s, "shop-r2-1"),
    "instance ended": lambda s: s.world.end("shop-r2-2"),
    "warm gone": lambda s: gone(s, "shop-r1-2"),
    "left over": lambda s: add(s, "shop-r2-101", index=101, colour="baseline"),
    "beside": lambda s: add(s, "shop-r1-7", release=1, index=7),
    "server gone": lambda s: s.world.servers[("shop", "green")].pop("shop-r2-1"),
    "server strange": lambda s: s.world.servers[("shop", "green")].update(STRANGE),
    "torn": lambda s: s.world.torn.update(shop=Live("blue")),
    "share": lambda s: s.world.live.update(shop=Live("green", 700, 0, 2)),
    "warm over": lambda s: setattr(s.world.clock, "at", s.world.clock.at + 7200),
    "port": lambda s: s.port(7, 1),
}


PAIRS = list(itertools.product(SPOILS, SPOILS))


@pytest.mark.parametrize(("second", "first"), tiers.some(PAIRS, len(PAIRS) // 4))
def test_whatever_two_things_are_wrong_users_are_served_and_all_of_it_is_put_right(
    scene: Scene, first: str, second: str
) -> None:
    SPOILS[first](scene)
    try:
        SPOILS[second](scene)
    except KeyError:
        pytest.skip("the first has left nothing to spoil")
    had = bool(scene.world.up("shop", scene.live.stable))
    scene.world.tick = lambda _what: check(scene) if had else None
    doctor.fix(scene.house, None)

    assert [f.text for f in told(scene)] == []
    assert len(scene.world.up("shop", "green")) == 2
    assert (scene.live.stable, scene.live.share) == ("green", 0)


def check(scene: Scene) -> None:
    assert scene.world.up("shop", scene.live.stable), "users have nobody"
