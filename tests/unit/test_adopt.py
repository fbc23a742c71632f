"""`deploy adopt`: the store is lost, and what stands and the proxy know enough to go on."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployer.app import operations, queries
from deployer.app.operations import RolloutResult, Survey
from deployer.app.status import status_of
from deployer.core.errors import DriverFailed, Locked, Refused, StoreDamaged
from deployer.drivers.ports import Found
from deployer.model import Live, SecretText, Signature
from deployer.planning import release_record
from deployer.store import Store, damage
from deployer.store.adoption import is_blank
from deployer.store.former import holders
from deployer.store.rebuild import rebuilding
from tests.house import Scene, house
from tests.house import adopt as adopt_folder
from tests.house import lose as lose_store
from tests.memory import Crash, MemoryRuntime

CANARY = {"steps": [10, 50], "for": "1s", "bake": "1s"}
FAST = Path("/dev/shm") if Path("/dev/shm").is_dir() else None  # the fsync of many stores is not what is tested
SECRETS = {"secrets": {"TOKEN": {"env": "TOKEN"}}}


@pytest.fixture
def scene() -> Iterator[Scene]:
    with tempfile.TemporaryDirectory(prefix="dp", dir=FAST) as folder:
        made = Scene(Path(folder))
        yield made
        made.house.store.database.close()


def lose(scene: Scene) -> None:
    lose_store(scene.house)


def survey(scene: Scene, **chosen: Any) -> Survey:
    """See what could be adopted, and leave it."""
    folder = scene.house.store.folder
    with rebuilding(folder, scene.world.clock) as made, house(folder, scene.world, store=made.store) as opened:
        return operations.survey(opened, why=made.why, **chosen)


def adopt(scene: Scene, **chosen: str) -> Survey:
    scene.house, found = adopt_folder(scene.house.store.folder, scene.world, scene.events, **chosen)
    return found


def anew(scene: Scene) -> Store:
    return Store(scene.house.store.folder, scene.world.clock, new=True)


def die(scene: Scene, version: str, strategy: str, where: str, **more: Any) -> None:
    """Deploy, and die where the world is touched like this."""

    def tick(what: str) -> None:
        if what.startswith(where):
            raise Crash(what)

    scene.world.tick = tick
    with pytest.raises(Crash):
        scene.deploy(version, strategy, **more)
    scene.world.tick = lambda _what: None


def roles(scene: Scene) -> dict[str, tuple[str, str]]:
    view = status_of(scene.house, "shop")
    assert not view.problems
    return {e.colour: (e.version, e.role) for e in view.environments}


def said(found: Survey) -> str:
    return "\n".join((*(line for one in found.services for line in one.lost), *found.notes))


# -- at rest


def test_what_is_live_and_what_is_warm_are_known_again(scene: Scene) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0")
    before = status_of(scene.house, "shop")
    lose(scene)
    found = adopt(scene)

    after = status_of(scene.house, "shop")
    assert roles(scene) == {"blue": ("1.0", "warm"), "green": ("2.0", "stable")}
    assert [e.instances for e in after.environments] == [e.instances for e in before.environments]
    assert (after.stable, after.stable_version, after.share) == (2, "2.0", 0)
    assert scene.house.store.rollouts.in_progress("shop") is None
    assert said(found) == "earlier rollouts, and all releases but r1, r2, are not known any more"


def test_going_back_is_one_write_again(scene: Scene) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0")
    lose(scene)
    adopt(scene)
    ensured = dict(scene.world.instances)
    ending = operations.rollback(scene.house, "shop")

    assert ending.outcome == "done"
    assert scene.live.stable == "blue"
    assert scene.world.instances == ensured, "nothing was started or removed for it"
    assert scene.house.store.releases.get("shop", 2).status == "rolled-back"


def test_numbers_go_on_after_the_highest_that_was_seen(scene: Scene) -> None:
    for version in ("1.0", "2.0", "3.0"):
        scene.deploy(version)
    last = scene.live.rollout
    lose(scene)
    adopt(scene)
    ending = scene.deploy("4.0", "canary", manifest={"strategy": {"canary": CANARY}})

    assert ending.outcome == "done"
    assert scene.house.store.services.get("shop").stable == 4
    assert ending.rollout == last + 1, "budget and stickiness go by this number: it is never used twice"


def test_a_number_of_a_release_that_left_only_its_secrets_is_not_used_again(scene: Scene) -> None:
    for version in ("1.0", "2.0"):
        scene.deploy(version, manifest=SECRETS, secrets=lambda: {"TOKEN": SecretText("t")})
    scene.world.broken = {"3.0"}
    scene.deploy("3.0", manifest=SECRETS, secrets=lambda: {"TOKEN": SecretText("of 3.0")})
    lose(scene)
    adopt(scene)
    scene.deploy("4.0")

    assert scene.house.store.services.get("shop").stable == 4


def test_the_same_release_again_is_still_nothing_to_do(scene: Scene) -> None:
    given: dict[str, Any] = {"manifest": SECRETS, "secrets": lambda: {"TOKEN": SecretText("t0ken")}}
    scene.deploy("1.0", **given)
    lose(scene)
    adopt(scene)
    ending = scene.deploy("1.0", **given)

    assert "nothing to do" in ending.text


def test_without_the_key_of_the_hashes_it_is_a_new_release_and_that_is_said(scene: Scene) -> None:
    scene.deploy("1.0", manifest=SECRETS, secrets=lambda: {"TOKEN": SecretText("t0ken")})
    (scene.house.store.folder / "secrets" / ".config-key").unlink()
    lose(scene)
    found = adopt(scene)

    assert "the key of the hashes is gone" in said(found)


def test_a_key_that_is_another_one_is_not_taken(scene: Scene) -> None:
    scene.deploy("1.0", manifest=SECRETS, secrets=lambda: {"TOKEN": SecretText("t0ken")})
    (scene.house.store.folder / "secrets" / ".config-key").write_text("another")
    lose(scene)
    found = adopt(scene)

    assert found.config_key == ""
    assert "the key of the hashes is gone" in said(found)


def test_secrets_that_are_gone_are_named_and_the_warm_way_back_still_works(scene: Scene) -> None:
    given: dict[str, Any] = {"manifest": SECRETS, "secrets": lambda: {"TOKEN": SecretText("t0ken")}}
    scene.deploy("1.0", **given)
    scene.deploy("2.0", **given)
    (scene.house.store.folder / "secrets" / "shop" / "r1.json").unlink()
    lose(scene)
    found = adopt(scene)

    assert "the secrets of r1 are gone" in said(found)
    assert "r2 are gone" not in said(found)
    assert operations.rollback(scene.house, "shop").outcome == "done"


def test_no_secret_is_in_what_an_instance_carries(scene: Scene) -> None:
    scene.deploy("1.0", manifest=SECRETS, secrets=lambda: {"TOKEN": SecretText("pl4nted")})

    assert all(found.record for found in scene.world.carried.values())
    assert not [found for found in scene.world.carried.values() if "pl4nted" in found.record]


def test_a_release_that_was_rolled_back_is_not_gone_to_again(scene: Scene) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0")
    operations.rollback(scene.house, "shop")
    lose(scene)
    adopt(scene)

    assert roles(scene) == {"blue": ("1.0", "stable"), "green": ("2.0", "warm")}
    with pytest.raises(Refused, match="was itself rolled back"):
        operations.rollback(scene.house, "shop", to=2)
    assert operations.rollback(scene.house, "shop", to=2, force=True).outcome == "done"


@pytest.mark.parametrize("command", ["rollback", "abort"])
def test_what_an_emergency_moved_at_the_proxy_is_not_moved_again(scene: Scene, command: str) -> None:
    """The store is lost before the emergency is written down: users are where it put them."""
    scene.deploy("1.0")
    held: dict[str, Any] = {"options": {"hold": True}, "strategy": "canary"}
    scene.deploy("2.0", **(held if command == "abort" else {}))
    live = replace(scene.live, share=0, lease=0, baseline=0)
    scene.world.live["shop"] = live if command == "abort" else replace(live, stable="blue", warm=0)
    moved = scene.live
    lose(scene)
    adopt(scene)

    assert scene.live == moved
    assert roles(scene) == {"blue": ("1.0", "stable"), "green": ("2.0", "warm")}
    assert scene.house.store.rollouts.in_progress("shop") is None
    assert scene.house.store.releases.get("shop", 2).status == "rolled-back"
    assert scene.deploy("3.0").outcome == "done"


def test_history_says_since_when_it_is_known(scene: Scene) -> None:
    scene.deploy("1.0")
    assert queries.history(scene.house, "shop").adopted == 0
    lose(scene)
    adopt(scene)
    view = queries.history(scene.house, "shop")

    assert view.rollouts == ()
    assert view.adopted == scene.world.clock.now()
    assert "@" in view.adopted_by


def test_down_takes_what_was_adopted(scene: Scene) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0")
    lose(scene)
    adopt(scene)
    operations.down(scene.house, "shop")

    assert scene.world.instances == {}
    assert scene.world.live == {}
    held = [p for p in scene.house.ports if scene.house.store.ports.is_held(p)]
    assert held == []


def test_addresses_stay_with_their_instances(scene: Scene) -> None:
    scene.deploy("1.0")
    lose(scene)
    adopt(scene)
    for instance in scene.world.instances.values():
        port = int(instance.address.rpartition(":")[2])
        assert scene.port(instance.release, instance.index) == port


# -- in the middle of a rollout


def test_a_candidate_with_a_share_can_be_taken_back(scene: Scene) -> None:
    scene.deploy("1.0")
    held = scene.deploy("2.0", "canary", options={"hold": True})
    lose(scene)
    found = adopt(scene)
    rollout = scene.house.store.rollouts.in_progress("shop")

    assert rollout is not None
    assert (rollout.number, rollout.release, rollout.phase) == (held.rollout, 2, "back")
    assert roles(scene) == {"blue": ("1.0", "stable"), "green": ("2.0", "candidate")}
    assert "`deploy resume` finishes its rollback" in status_of(scene.house, "shop").next
    assert found.services[0].roles == {"blue": "stable", "green": "candidate"}
    ending = operations.stop(scene.house, "shop")
    assert (ending.outcome, int(ending.exit)) == ("reverted", 0)
    assert scene.live.share == 0
    assert scene.versions("green") == []
    assert scene.deploy("3.0").outcome == "done"


def test_nobody_is_asked_to_promote_what_nobody_has_seen(scene: Scene) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0", "canary", options={"hold": True})
    lose(scene)
    adopt(scene)

    with pytest.raises(Refused, match="rolling back"):
        operations.promote(scene.house, "shop")


@pytest.mark.parametrize("how", ["resume", "stop", "rollback", "replace"])
def test_every_way_out_of_it_ends_well(scene: Scene, how: str) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0", "canary", options={"hold": True})
    lose(scene)
    adopt(scene)
    ending: RolloutResult
    if how == "replace":
        ending = scene.deploy("3.0", replace=True)
        assert ending.outcome == "done"
    else:
        ending = getattr(operations, how)(scene.house, "shop")
        assert ending.outcome == "reverted"
    assert "2.0" not in scene.versions("green")
    assert scene.house.store.rollouts.in_progress("shop") is None


def test_a_candidate_before_its_first_user_is_one_too(scene: Scene) -> None:
    scene.deploy("1.0")
    die(scene, "2.0", "canary", "before set_traffic")
    lose(scene)
    adopt(scene)

    assert roles(scene) == {"blue": ("1.0", "stable"), "green": ("2.0", "candidate")}
    assert operations.stop(scene.house, "shop").outcome == "reverted"
    assert scene.versions("green") == []


def test_a_first_deploy_that_died_is_taken_back_to_nothing(scene: Scene) -> None:
    die(scene, "1.0", "bluegreen", "before set_traffic")
    lose(scene)
    adopt(scene)
    assert operations.stop(scene.house, "shop").outcome == "reverted"

    assert scene.world.instances == {}
    assert scene.deploy("2.0").outcome == "done"


def test_a_baseline_goes_with_its_candidate(scene: Scene) -> None:
    scene.deploy("1.0")
    fresh = {"steps": [10], "for": "1s", "baseline": "fresh"}
    scene.deploy("2.0", "canary", options={**fresh, "hold": True})
    assert scene.versions("baseline") == ["1.0", "1.0"]
    lose(scene)
    found = adopt(scene)

    assert found.services[0].roles["baseline"] == "baseline"
    assert operations.stop(scene.house, "shop").outcome == "reverted"
    assert (scene.versions("baseline"), scene.versions("green")) == ([], [])


def test_instances_of_stable_that_a_rolling_deploy_had_replaced_come_back(scene: Scene) -> None:
    scene.deploy("1.0", manifest={"replicas": 3})
    die(scene, "2.0", "rolling", "drain", manifest={"replicas": 3})
    die_again = [i for i in scene.world.instances.values() if i.colour == "blue"][-1]
    scene.world.instances.pop(die_again.name)
    lose(scene)
    adopt(scene)
    assert operations.stop(scene.house, "shop").outcome == "reverted"

    assert scene.versions("blue") == ["1.0"] * 3
    assert scene.versions("green") == []


def test_where_nothing_of_stable_runs_a_person_decides(scene: Scene) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0", "canary", options={"hold": True})
    for name in [i.name for i in scene.world.instances.values() if i.colour == "blue"]:
        scene.world.instances.pop(name)
    lose(scene)
    adopt(scene)
    rollout = scene.house.store.rollouts.in_progress("shop")

    assert rollout is not None
    assert rollout.outcome == "paused"
    assert "`deploy promote` promotes r2" in status_of(scene.house, "shop").next
    assert operations.promote(scene.house, "shop").outcome == "done"
    assert scene.live == Live(stable="green", rollout=rollout.number)
    assert roles(scene) == {"green": ("2.0", "stable")}


def test_a_promotion_that_was_not_tidied_up_is_a_promotion(scene: Scene) -> None:
    scene.deploy("1.0")
    die(scene, "2.0", "bluegreen", "after set_traffic Live(stable='green'")
    lose(scene)
    adopt(scene)

    assert roles(scene) == {"blue": ("1.0", "warm"), "green": ("2.0", "stable")}
    assert scene.house.store.rollouts.in_progress("shop") is None


def test_a_share_for_which_nothing_stands_is_told(scene: Scene) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0", "canary", options={"hold": True})
    for name in [i.name for i in scene.world.instances.values() if i.colour == "green"]:
        scene.world.instances.pop(name)
    lose(scene)

    assert "`deploy doctor --fix` gives them stable" in said(adopt(scene))


# -- what is not ours, or not lost


def test_a_good_store_is_never_written_over(scene: Scene) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0")
    before = scene.house.store.rollouts.of("shop")
    inode = scene.house.store.file.stat().st_ino
    found = adopt(scene)

    assert (found.why, found.services) == ("", ())
    assert scene.house.store.rollouts.of("shop") == before
    assert scene.house.store.file.stat().st_ino == inode
    assert queries.history(scene.house, "shop").adopted == 0


def test_adopting_twice_is_nothing_to_do(scene: Scene) -> None:
    scene.deploy("1.0")
    lose(scene)
    stale = survey(scene)
    adopt(scene)
    again = survey(scene)

    assert (again.why, again.services) == ("", ())
    with pytest.raises(Refused, match="knows shop already"):
        operations.adopt(scene.house, stale)


def test_a_damaged_store_is_moved_aside_whole_and_rebuilt(scene: Scene) -> None:
    scene.deploy("1.0")
    scene.house.store.database.close()
    path = scene.house.store.file
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + bytes(len(whole) - 4096))
    damaged = path.read_bytes()
    found = adopt(scene)

    assert "damaged" in found.why
    assert status_of(scene.house, "shop").stable_version == "1.0"
    (aside,) = path.parent.glob("deployer.db.aside-*")
    assert aside.read_bytes() == damaged


def test_a_store_that_was_begun_anew_is_moved_aside_too(scene: Scene) -> None:
    scene.deploy("1.0")
    lose(scene)
    with_nothing = Store(scene.house.store.folder, scene.world.clock, new=True)
    with_nothing.database.close()
    found = adopt(scene)

    assert found.why == "it has no record of anything"
    assert status_of(scene.house, "shop").stable_version == "1.0"
    assert scene.house.store.audit_log.verify().problem == ""


def test_where_nothing_stands_a_new_store_is_made(scene: Scene) -> None:
    scene.deploy("1.0", manifest=SECRETS, secrets=lambda: {"TOKEN": SecretText("t")})
    operations.down(scene.house, "shop")
    lose(scene)
    with pytest.raises(StoreDamaged, match="is gone"):
        house(scene.house.store.folder, scene.world)
    adopt(scene)

    assert scene.deploy("2.0").outcome == "done"


def test_two_that_adopt_at_once_do_not_meet(scene: Scene) -> None:
    scene.deploy("1.0")
    lose(scene)
    folder = scene.house.store.folder
    with rebuilding(folder, scene.world.clock), pytest.raises(Locked, match="being rebuilt"):
        adopt(scene)
    (folder / ".adopting-left").mkdir()
    adopt(scene)
    assert list(folder.glob(".adopting-*")) == []


def test_a_store_that_another_command_made_meanwhile_stays(scene: Scene) -> None:
    scene.deploy("1.0")
    lose(scene)
    folder = scene.house.store.folder
    with rebuilding(folder, scene.world.clock) as made, house(folder, scene.world, store=made.store) as opened:
        operations.adopt(opened, operations.survey(opened, why=made.why))
        move_aside = damage.move_aside

        def then_another(at: Path) -> tuple[Path, ...]:
            moved = move_aside(at)
            Store(at, scene.world.clock, new=True).database.close()
            return moved

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(damage, "move_aside", then_another)
            with pytest.raises(Locked, match="meanwhile"):
                made.put_in_place()
    with house(folder, scene.world) as there:
        assert is_blank(there.store)


def test_what_was_done_is_in_the_audit_log(scene: Scene) -> None:
    scene.deploy("1.0")
    lose(scene)
    adopt(scene)
    (record,) = scene.house.store.audit_log.newest(5)

    assert (record.action, record.service, record.release) == ("adopt", "shop", 1)
    assert scene.house.store.audit_log.verify().problem == ""


def test_a_deploy_without_records_is_refused_before_anything_changes(scene: Scene) -> None:
    scene.deploy("1.0")
    lose(scene)
    scene.house = house(scene.house.store.folder, scene.world, scene.events, anew(scene))
    before = dict(scene.world.instances), dict(scene.world.live)
    with pytest.raises(Refused, match="has no record of it") as refused:
        scene.deploy("2.0")

    assert "`deploy adopt`" in refused.value.hint
    assert (scene.world.instances, scene.world.live) == before
    assert is_blank(scene.house.store)


def stand(scene: Scene, service: str, installation: str, home: str) -> None:
    """Let an instance of another store stand beside ours."""
    ours = next(iter(scene.world.carried.values()))
    name = f"{service}-r1-1"
    scene.world.instances[name] = replace(ours.instance, service=service, name=name, runtime_id=f"memory:{name}")
    scene.world.carried[name] = Found(scene.world.instances[name], installation, home, ours.record)


def test_other_installations_are_left_alone(scene: Scene) -> None:
    scene.deploy("1.0")
    stand(scene, "till", "theirs", "web-9:/srv/deployer")
    own = scene.house.store.secret("installation")
    lose(scene)
    found = adopt(scene)

    assert [one.records.service for one in found.services] == ["shop"]
    assert scene.house.store.secret("installation") == own
    assert "till of web-9:/srv/deployer is left alone" in said(found)


def test_what_stood_elsewhere_is_adopted_when_it_is_named(scene: Scene, tmp_path: Path) -> None:
    scene.deploy("1.0")
    for name, found in scene.world.carried.items():
        scene.world.carried[name] = replace(found, home="old-host:/var/lib/deployer")
    installation = scene.house.store.secret("installation")
    lose(scene)

    assert survey(scene).services == ()
    assert f"deploy adopt --installation {installation}" in said(survey(scene))
    assert adopt(scene, installation=installation).services[0].records.stable == 1


def test_an_installation_of_which_nothing_stands_is_refused(scene: Scene) -> None:
    scene.deploy("1.0")
    lose(scene)
    with pytest.raises(Refused, match="nothing is running of installation other") as refused:
        survey(scene, installation="other")

    assert str(scene.house.store.folder) in refused.value.hint


def test_what_belongs_to_a_store_that_is_there_is_refused(scene: Scene, tmp_path: Path) -> None:
    neighbour = tmp_path / "neighbour"
    neighbour.mkdir()
    (neighbour / "deployer.db").touch()
    scene.deploy("1.0")
    stand(scene, "till", "theirs", release_record.home(neighbour))
    lose(scene)

    with pytest.raises(Refused, match="which still exists"):
        survey(scene, installation="theirs")


def test_two_lost_stores_of_one_folder_are_told_apart_by_name(scene: Scene) -> None:
    scene.deploy("1.0")
    stand(scene, "till", "older", release_record.home(scene.house.store.folder))
    lose(scene)

    with pytest.raises(Refused, match="instances of 2 state databases"):
        survey(scene)


def test_one_service_can_be_adopted_alone(scene: Scene) -> None:
    scene.deploy("1.0")
    lose(scene)

    assert survey(scene, service="till").services == ()
    assert adopt(scene, service="shop").services[0].records.stable == 1


# -- what cannot be read


def test_an_instance_without_a_record_is_named(scene: Scene) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0")
    for name in ("shop-r1-1", "shop-r1-2"):
        scene.world.carried[name] = replace(scene.world.carried[name], record="")
    lose(scene)
    found = adopt(scene)

    assert "r1 cannot be rebuilt: shop-r1-1: it carries no record of its release" in said(found)
    assert found.services[0].records.warm == 0
    assert found.services[0].roles == {"blue": "left over", "green": "stable"}
    assert status_of(scene.house, "shop").stable == 2


def test_one_instance_that_carries_the_record_is_enough(scene: Scene) -> None:
    scene.deploy("1.0")
    scene.world.carried["shop-r1-1"] = replace(scene.world.carried["shop-r1-1"], record="{}")
    lose(scene)

    assert adopt(scene).services[0].records.stable == 1


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "{",
        "[]",
        "null",
        '{"format":2}',
        '{"format":1}',
        '{"format":1,"service":7}',
    ],
)
def test_a_record_that_is_none_is_refused_with_what_is_wrong(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        release_record.read(wrong)


def test_a_record_is_read_as_it_was_written(scene: Scene) -> None:
    scene.deploy("1.0", manifest=SECRETS, secrets=lambda: {"TOKEN": SecretText("t")})
    release = scene.house.store.releases.get("shop", 1)

    assert release_record.read(release_record.write(release)) == replace(release, status="new")


def test_a_record_proves_nothing_of_who_signed(scene: Scene) -> None:
    scene.deploy("1.0")
    signed = replace(
        scene.house.store.releases.get("shop", 1), signature=Signature("shop@sha256:1", "k" * 64, "cosign.pub", True)
    )

    assert "cosign.pub" not in release_record.write(signed)
    assert release_record.read(release_record.write(signed)).signature is None


def test_the_record_of_another_release_is_not_believed(scene: Scene) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0")
    other = scene.world.carried["shop-r2-1"].record
    for name in ("shop-r1-1", "shop-r1-2"):
        scene.world.carried[name] = replace(scene.world.carried[name], record=other)
    lose(scene)

    assert "r1 cannot be rebuilt: shop-r1-1 carries the record of another release" in said(adopt(scene))


def test_an_engine_that_is_silent_is_waited_for_where_users_are_on_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(_self: MemoryRuntime) -> tuple[Found, ...]:
        raise DriverFailed("no engine answers", "start it")

    scene.deploy("1.0")
    lose(scene)
    monkeypatch.setattr(MemoryRuntime, "list_all", silent)
    with pytest.raises(Refused, match="nothing was found to rebuild the store from: no engine answers"):
        survey(scene)


# -- hands that still hold the store


def test_a_process_that_still_works_with_the_lost_store_stands_in_the_way(scene: Scene) -> None:
    scene.deploy("1.0")
    path = scene.house.store.file
    hold = f"import sqlite3, sys; db = sqlite3.connect({str(path)!r}); db.execute('select * from meta').fetchall()"
    program = f"{hold}; print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        assert holders(path) == (), "it is the store of now"
        lose(scene)
        assert holders(path) == (holder.pid,)
        with pytest.raises(Refused, match=f"process {holder.pid} still works with the store"):
            survey(scene)
        holder.communicate(timeout=60)
    assert holders(path) == ()
    assert adopt(scene).services[0].records.stable == 1


def test_a_store_that_was_moved_aside_is_a_former_one_too(tmp_path: Path) -> None:
    path = tmp_path / "deployer.db"
    with sqlite3.connect(path) as db:
        db.execute("create table t (x)")
    program = f"import sys; f = open({str(path)!r}); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        path.rename(tmp_path / "deployer.db.corrupt-1")
        path.touch()
        assert holders(path) == (holder.pid,)
        assert os.getpid() not in holders(path)
        holder.communicate(timeout=60)
