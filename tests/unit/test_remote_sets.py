"""`deploy --server URL release`: the commands for sets as clients of the real API, on a world in memory."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deployer.app import sets
from deployer.client import stream
from deployer.core.errors import Exit
from deployer.server.tokens import Role
from tests.api import Api
from tests.served import served
from tests.set_api import FILES, api_of_sets
from tests.sets import SERVICES
from tests.unit.test_remote import Deploy, Told, here, run

__all__ = ["here", "run"]  # fixtures


@pytest.fixture
def api(state: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """Yield an API with the files of three services, which are live by 1.0."""
    monkeypatch.setattr(stream, "PAUSE", 0.05)
    with api_of_sets(state) as made:
        yield made


@contextmanager
def server(api: Api, monkeypatch: pytest.MonkeyPatch, role: Role = "admin", *services: str) -> Iterator[str]:
    token = api.token(role, *services)["Authorization"].removeprefix("Bearer ")
    monkeypatch.setenv("DEPLOYER_TOKEN", token)
    with served(api) as url:
        monkeypatch.setenv("DEPLOYER_SERVER", url)
        yield url


def live(api: Api) -> set[str]:
    store = api.scene.house.store
    return {store.releases.get(name, store.services.get(name).stable).version for name in SERVICES}


def release_here(run: Deploy, *arguments: str) -> Told:
    return run("release", *arguments, "--set", "shop")


def test_a_set_is_released_and_rolled_back_with_the_exit_codes_of_home(
    api: Api, run: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server(api, monkeypatch, "operator"):
        planned = release_here(run, "plan", "--version", "2.0", "--check")
        assert (planned.code, planned.out.count("then all of the set are promoted")) == (Exit.CHANGES, len(SERVICES))
        told = release_here(run, "up", "--version", "2.0", "-m", "the new basket")
        text = "set 2 (shop) is live: backend r2 (2.0), frontend r2 (2.0), mailer r2 (2.0)\n"
        assert (told.code, told.out) == (Exit.DONE, text)
        again = release_here(run, "up", "--version", "2.0")
        assert (again.code, again.out) == (0, "all of shop is live already: nothing to do\n")
        api.scene.world.bad, api.scene.world.worse = "backend", {"3.0"}  # type: ignore[attr-defined]
        worse = release_here(run, "canary", "--version", "3.0")
        assert worse.code == Exit.VERDICT
        assert worse.out.startswith("set 3 (shop) was rolled back: backend: r3 is worse: ")
        back = release_here(run, "rollback", "--again")
        assert (back.code, back.out.partition(":")[0]) == (Exit.DONE, "set 4 (shop) is live")
        assert release_here(run, "abort").code == release_here(run, "watch").code == Exit.REFUSED
    assert live(api) == {"1.0"}
    assert api.scene.house.store.rollouts.get(4).message == "the new basket"
    assert {each.origin.partition(",")[0] for each in api.runner.runs.values()} == {"API"}


def test_its_events_are_those_of_home_and_end_with_its_ending(
    api: Api, run: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server(api, monkeypatch):
        told = release_here(run, "up", "--version", "2.0", "--output", "json")
        rollouts = told.events()[-1]["rollouts"]
        store = api.scene.house.store
        for service, number in rollouts.items():
            mine = [e["event"] for e in told.events() if e["service"] == service and e["event"] != "sample"]
            assert mine == [event.kind for event in store.events.of(number)], service
        ended, at_home = told.events()[-1], next(e for e in reversed(api.scene.events) if e.kind == "set.ended")
        assert (ended["event"], ended["service"], ended["rollout"]) == ("set.ended", at_home.service, at_home.rollout)
        assert {key: ended[key] for key in at_home.data} == at_home.data
        assert all(json_line["event"] for json_line in told.events())


def test_what_is_shown_is_what_is_shown_at_home(api: Api, run: Deploy, monkeypatch: pytest.MonkeyPatch) -> None:
    house = api.scene.house
    with server(api, monkeypatch):
        for command, view in (("status", sets.status(house, "shop")), ("history", sets.history(house, "shop", 20))):
            told = run("release", command, "--output", "json")  # it is the only one
            assert (told.code, json.loads(told.out)) == (0, json.loads(json.dumps(view.to_dict()))), command
        assert "backend" in run("release", "status").out
        assert run("release", "status", "--set", "other").code == Exit.REFUSED


def test_files_here_must_be_those_there(api: Api, run: Deploy, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FILES:
        shutil.copy(api.folder / name, here / name)
    with server(api, monkeypatch):
        assert run("release", "plan", "--version", "2.0").code == 0
        with (here / "mailer.yml").open("a") as file:
            file.write("# changed\n")
        told = run("release", "up", "--version", "2.0")
        assert (told.code, "differ from yours" in told.err) == (Exit.REFUSED, True)
        assert run("release", "up", "-f", "release.yml", "--version", "2.0").code == Exit.REFUSED
        (here / "release.yml").write_text("release: other\nservices: {backend: backend.yml, mailer: mailer.yml}\n")
        told = run("release", "up", "--version", "2.0")
        assert (told.code, "there is no set other" in told.err) == (Exit.REFUSED, True)
        wrong = release_here(run, "up", "--version", "nobody=2.0")
        assert (wrong.code, "shop has no service nobody" in wrong.err) == (Exit.REFUSED, True)
    assert len(api.scene.house.store.sets.of("shop")) == 1, "nothing was changed"


def test_a_token_needs_every_service_of_the_set(api: Api, run: Deploy, monkeypatch: pytest.MonkeyPatch) -> None:
    with server(api, monkeypatch, "operator", "backend", "frontend"):
        for command in ("status", "history", "up", "rollback", "abort", "plan"):
            told = release_here(run, command)
            assert (told.code, "is not for mailer" in told.err) == (Exit.REFUSED, True), command
        assert "no set of services" in run("release", "status").err
    with server(api, monkeypatch, "operator", *SERVICES):
        assert release_here(run, "status").code == 0
    with server(api, monkeypatch, "viewer"):
        told = release_here(run, "up", "--version", "2.0")
        assert (told.code, "this needs operator" in told.err) == (Exit.REFUSED, True)
        assert release_here(run, "status").code == 0
    assert api.runner.orders == []
