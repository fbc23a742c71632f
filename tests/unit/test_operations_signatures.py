"""Signatures in what people ask for: refused before anything changes, recorded, never in the way of going back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployer.app import operations, plans, queries
from deployer.app.doctor import examine
from deployer.app.operations import rollback
from deployer.core.errors import Locked, Refused
from tests.house import REPOSITORY, Scene, manifest, request

SIGNED: dict[str, Any] = {"manifest": {"verify": {"cosign": {"key": "cosign.pub", "transparency_log": False}}}}


@pytest.fixture
def scene(state: Path) -> Iterator[Scene]:
    scene = Scene(state)
    with scene.house:
        yield scene


def asked(scene: Scene) -> list[str]:
    """List how often somebody was asked for proof from now on."""
    found: list[str] = []
    scene.world.tick = lambda what: found.append(what) if what == "prove" else None
    return found


def test_without_verify_nobody_is_asked(scene: Scene) -> None:
    found = asked(scene)
    scene.deploy("1.0")
    assert not found
    assert scene.house.store.releases.get("shop", 1).signature is None


def test_a_release_keeps_who_signed_it(scene: Scene) -> None:
    scene.deploy("1.0", **SIGNED)
    signature = scene.house.store.releases.get("shop", 1).signature
    assert signature
    assert (signature.file, signature.image) == ("cosign.pub", "shop:1.0@sha256:shop:1.0")
    assert signature.explain() in queries.releases(scene.house, "shop").releases[0].signature
    assert signature.explain() in scene.house.store.audit_log.newest(10)[-1].detail


def test_an_unsigned_image_is_refused_before_anything_changes(scene: Scene) -> None:
    scene.deploy("1.0", **SIGNED)
    before = dict(scene.world.instances)
    scene.world.unsigned = {"shop:2.0"}
    with pytest.raises(Refused, match="no signature"):
        scene.deploy("2.0", message="in a hurry", **SIGNED)
    assert scene.world.instances == before
    assert len(scene.house.store.releases.of("shop")) == 1
    assert scene.house.store.rollouts.in_progress("shop") is None
    assert scene.house.store.locks.read("shop") is None
    record = scene.house.store.audit_log.newest(1)[0]
    assert (record.action, record.result) == ("start", "refused")
    assert record.detail == "bluegreen: shop:2.0 = sha256:shop:2.0"
    assert "no signature" in record.reason


def test_a_plan_is_refused_too_and_leaves_no_record(scene: Scene) -> None:
    scene.world.unsigned = {"shop:1.0"}
    with pytest.raises(Refused, match="no signature"):
        operations.propose(scene.house, request("1.0", "bluegreen", REPOSITORY, **SIGNED))
    assert not scene.house.store.audit_log.newest(1)


def test_a_plan_says_who_signed(scene: Scene) -> None:
    view = plans.explain(operations.propose(scene.house, request("1.0", "bluegreen", REPOSITORY, **SIGNED)))
    assert "is signed by cosign.pub" in view.notes[0]


def test_an_unfinished_rollout_is_not_taken_back_for_an_unsigned_image(scene: Scene) -> None:
    scene.deploy("1.0", **SIGNED)
    scene.deploy("2.0", "canary", options={"percent": 10, "hold": True}, **SIGNED)
    scene.world.unsigned = {"shop:3.0"}
    found = asked(scene)
    with pytest.raises(Locked):
        scene.deploy("3.0", **SIGNED)
    assert not found
    with pytest.raises(Refused, match="no signature"):
        scene.deploy("3.0", replace=True, **SIGNED)
    rollout = scene.house.store.rollouts.in_progress("shop")
    assert rollout
    assert (rollout.number, rollout.outcome) == (2, "paused")
    assert scene.live.share == 1000


def test_the_same_image_again_is_not_asked_about(scene: Scene) -> None:
    scene.deploy("1.0", **SIGNED)
    found = asked(scene)
    scene.world.unsigned = {"shop:1.0"}  # the registry is gone, say
    scene.world.instances.clear()  # and the machine was started again
    assert scene.deploy("1.0", **SIGNED).outcome == "done"
    assert not found
    assert scene.house.store.releases.get("shop", 2).signature == scene.house.store.releases.get("shop", 1).signature


@pytest.mark.parametrize("warm", [True, False])
def test_a_rollback_asks_nobody(scene: Scene, warm: bool) -> None:
    scene.deploy("1.0", **SIGNED)
    scene.deploy("2.0", manifest={**SIGNED["manifest"], "keep": {"warm": 3600 if warm else 0}})
    found = asked(scene)
    scene.world.unsigned = {"shop:1.0", "shop:2.0"}
    assert rollback(scene.house, "shop").outcome == "done"
    assert scene.house.store.services.get("shop").stable == 1
    assert not found


def test_a_resume_asks_nobody(scene: Scene) -> None:
    scene.deploy("1.0", **SIGNED)
    scene.deploy("2.0", "canary", options={"percent": 10, "hold": True}, **SIGNED)
    found = asked(scene)
    assert operations.promote(scene.house, "shop").outcome == "done"
    assert not found


def test_to_ask_for_signatures_makes_no_other_release(scene: Scene) -> None:
    scene.deploy("1.0")
    assert "nothing to do" in scene.deploy("1.0", **SIGNED).text


def test_the_doctor_knows_whether_cosign_is_there(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = manifest(**SIGNED["manifest"])
    monkeypatch.setenv("PATH", str(tmp_path))
    finding = next(f for f in examine(scene.house, wanted).findings if f.what == "cosign")
    assert finding.level == "bad"
    assert "apt-get install cosign" in finding.remedy
    (tmp_path / "cosign").touch(mode=0o755)
    assert next(f for f in examine(scene.house, wanted).findings if f.what == "cosign").level == "ok"
    assert not [f for f in examine(scene.house, manifest()).findings if f.what == "cosign"]
