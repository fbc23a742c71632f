"""Following a branch with a release file: a commit is one release of all services. Real Git, a world in memory."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployer.app import operations
from deployer.app.gitops import BranchFollower, BranchSource, ManifestState, Repository
from deployer.app.operations.set_rollback import rollback_set
from deployer.core.clock import SystemClock
from deployer.core.errors import DeployError, Exit, LockLost, Refused
from deployer.model import Live
from tests.house import Scene
from tests.memory import MemoryTraffic
from tests.set_api import write_files
from tests.sets import SERVICES, SetWorld, Turns, by_turns, wanted
from tests.unit.test_gitops import Origin

FILE = Path("release.yml")


class Sets(Origin):
    """A repository with a release file."""

    def commit_all(self, message: str, **manifests: dict[str, Any]) -> str:
        write_files(self.folder, **manifests)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def origin(tmp_path: Path) -> Sets:
    return Sets(tmp_path / "origin")


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    world = SetWorld(clock=Turns())
    made = Scene(tmp_path / "state", world)
    with by_turns(world), made.house:
        yield made


@pytest.fixture
def follow(scene: Scene, origin: Sets, tmp_path: Path) -> Callable[..., ManifestState]:
    repository = Repository(str(origin.folder), "main", tmp_path / "gitops", SystemClock(), os.environ)

    def look(**source: Any) -> ManifestState:
        return BranchFollower(scene.house, BranchSource(repository, FILE, **source), os.environ).look()

    return look


def image(version: str, *services: str) -> dict[str, dict[str, Any]]:
    return {name: {"image": f"{name}:{version}"} for name in services or SERVICES}


def test_a_commit_is_one_release_of_all(scene: Scene, origin: Sets, follow: Callable[..., ManifestState]) -> None:
    first = origin.commit_all("the first")
    state = follow()
    assert (state.word, state.service, state.commit, state.exit) == ("applied", "shop", first, Exit.DONE)
    assert state.text.startswith("set 1 (shop) is live: ")
    assert follow().word == "synced"
    origin.commit_all("a new mailer", **image("2.0", "mailer"))
    assert follow().word == "applied"
    sets = scene.house.store.sets.of("shop")
    assert [[m.service for m in each.moved] for each in sets] == [["mailer"], list(SERVICES)]
    assert sets[0].message.endswith(" a new mailer")


def test_a_bad_commit_takes_all_back_and_is_tried_once(
    scene: Scene, origin: Sets, follow: Callable[..., ManifestState]
) -> None:
    origin.commit_all("the first")
    assert follow().word == "applied"
    origin.commit_all("all new", **image("2.0"))
    scene.world.bad, scene.world.worse = "backend", {"2.0"}  # type: ignore[attr-defined]
    state = follow()
    assert (state.word, state.exit) == ("failed", Exit.VERDICT)
    assert "backend: r2 is worse" in state.text
    again = follow()
    assert (again.word, again.exit) == ("pinned", Exit.VERDICT)
    assert again.text.startswith("set 2 (shop) was rolled back (backend, frontend, mailer): it is not tried again")
    scene.world.worse = set()
    origin.commit_all("only the backend is another", **{**image("2.0"), **image("3.0", "backend")})
    assert follow().word == "applied", "the others were not the cause, and are not pinned for ever"


def test_a_rollback_by_a_person_is_not_undone(scene: Scene, origin: Sets, follow: Callable[..., ManifestState]) -> None:
    origin.commit_all("the first")
    follow()
    origin.commit_all("all new", **image("2.0"))
    assert follow().word == "applied"
    assert rollback_set(scene.house, "shop", again=True).exit is Exit.DONE
    assert follow().word == "pinned"


def test_one_manifest_that_is_wrong_keeps_all_as_they_are(
    scene: Scene, origin: Sets, follow: Callable[..., ManifestState]
) -> None:
    origin.commit_all("the first", mailer={"port": "many"})
    state = follow()
    assert (state.word, state.service) == ("refused", "")
    assert "mailer: mailer.yml:" in state.text
    assert scene.house.store.sets.of("shop") == ()
    assert follow(destination="staging").text.startswith("release.yml is a release file, which has no destinations")


def test_a_member_that_is_in_progress_by_itself_is_waited_for(
    scene: Scene, origin: Sets, follow: Callable[..., ManifestState]
) -> None:
    origin.commit_all("the first")
    follow()
    (request,) = (r for r in wanted("9.0").requests if r.loaded.manifest.service == "mailer")
    operations.deploy(scene.house, replace(request, options={"percent": 10, "hold": True}))
    origin.commit_all("all new", **image("2.0"))
    state = follow()
    assert state.word == "busy"
    assert state.text.startswith("mailer is in progress by itself: rollout ")


def test_a_release_that_cannot_go_on_is_left_to_people(
    scene: Scene, origin: Sets, follow: Callable[..., ManifestState], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process ended before the last of its services was promoted, and the proxy refuses that since then."""
    set_traffic, error = MemoryTraffic.set_traffic, list[DeployError]()

    def refusing(self: MemoryTraffic, service: str, live: Live, *rest: Any) -> None:
        if error and (service, live.stable, live.share) == ("mailer", "green", 0):
            raise error[0]
        set_traffic(self, service, live, *rest)

    monkeypatch.setattr(MemoryTraffic, "set_traffic", refusing)
    origin.commit_all("the first")
    follow()
    origin.commit_all("all new", **image("2.0"))
    error[:] = [LockLost("mailer", "somebody else")]
    assert follow().word == "busy"
    assert not any(scene.house.store.rollouts.in_progress(service) for service in SERVICES if service != "mailer")
    error[:] = [Refused("the disk of the proxy is full")]
    state = follow()
    assert (state.word, len(scene.house.store.sets.of("shop"))) == ("failed", 2)
    assert re.match(r"set 2 \(shop\): rollout \d+ of mailer is needs-attention: .*disk of the proxy", state.text)
