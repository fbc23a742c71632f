"""Sets in the web UI, over a world in memory: what is shown of them, and what may be asked of all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployer.app.sets import asked_of
from deployer.planning.orders import Order
from deployer.server import rights
from tests.api import Api
from tests.set_api import api_of_sets
from tests.sets import SERVICES
from tests.unit.test_server import V1, Client
from tests.unit.test_server_page import dialogs, session

HELD = {"versions": {"": "2.0"}, "options": {"percent": 10, "hold": True}, "reason": "<b>VAT</b>"}


@pytest.fixture
def api(state: Path) -> Iterator[Api]:
    with api_of_sets(state) as made:
        yield made


@pytest.fixture
def ask(api: Api) -> Client:
    return Client(api)


def post(ask: Client, token: dict[str, str], action: str, **body: Any) -> Any:
    return ask("POST", f"{V1}/sets/shop/{action}", token, json=body)


def test_a_set_in_progress_is_shown_with_all_members_and_every_button(api: Api, ask: Client) -> None:
    operator, mine = api.token("operator"), session(api, ask)
    assert "Set 1: done, live" in ask("GET", "/sets/shop", mine).text
    assert set(dialogs(ask("GET", "/sets/shop", mine).text)) == {"deploy"}, "nothing was before the first"
    told = post(ask, operator, "releases", **HELD).json()
    assert (told["outcome"], told["set_name"], bool(told["rollout"])) == ("paused", "shop", True), told
    home, page = ask("GET", "/", mine).text, ask("GET", "/sets/shop", mine).text
    for text in (home, page):
        assert all(f'href="/services/{name}">{name}</a>' in text for name in SERVICES)
        assert text.count("10%") >= len(SERVICES)
        assert "<b>VAT" not in text
        assert "&lt;b&gt;VAT" in text
    assert 'href="/sets/shop#ask-abort"' in home
    assert set(dialogs(page)) == {"promote", "resume", "abort"}
    assert "backend returns to r1" in dialogs(page)["abort"]
    assert dialogs(ask("GET", "/sets/shop", session(api, ask, "viewer")).text) == {}
    late = post(ask, operator, "promote", set=1)
    assert (late.status_code, late.json()["message"]) == (409, "set 1 is not in progress any more: set 2 is now")
    assert post(ask, operator, "promote", set=2).json()["outcome"] == "done"
    page = ask("GET", "/sets/shop", mine).text
    assert set(dialogs(page)) == {"rollback", "deploy"}
    assert "backend returns to r1 (1.0)" in dialogs(page)["rollback"]
    assert post(ask, operator, "rollback", set=0).json()["outcome"] == "done"


def test_the_culprit_is_named(api: Api, ask: Client) -> None:
    api.scene.world.bad, api.scene.world.worse = "mailer", {"2.0"}  # type: ignore[attr-defined]
    assert post(ask, api.token("operator"), "releases", versions={"": "2.0"}).json()["exit"] == 3
    mine = session(api, ask)
    for path in ("/", "/sets/shop"):
        assert "mailer: r2 is worse" in ask("GET", path, mine).text
    assert "Set 2: rolled back" in ask("GET", "/sets/shop", mine).text


def test_whose_token_is_for_some_services_sees_no_set(api: Api, ask: Client) -> None:
    mine = session(api, ask, "admin", "backend", "frontend")
    home = ask("GET", "/", mine)
    assert home.status_code == 200
    assert "/sets/shop" not in home.text
    assert ask("GET", "/sets/shop", mine).status_code == 403
    assert ask("GET", "/sets/other", session(api, ask)).status_code == 404


def test_what_is_for_one_of_a_set_in_progress_is_for_who_may_act_on_all(api: Api, ask: Client) -> None:
    post(ask, api.token("operator"), "releases", **HELD)
    given = len(api.runner.orders)
    asked: dict[str, dict[str, Any]] = {each: {} for each in ("promote", "abort", "pause", "resume", "rollback")}
    asked["approve"] = {"refuse": True, "reason": "no"}
    for action, body in asked.items():
        answer = ask("POST", f"{V1}/services/backend/{action}", api.token("operator", "backend"), json=body)
        assert (answer.status_code, len(api.runner.orders)) == (403, given), action
        assert answer.json()["message"] == "backend is released together with frontend, mailer, in set 2 (shop)"
    group = asked_of(api.scene.house, Order("start", "backend", replace=True))
    assert group is not None
    assert group.title == "set 2 (shop)"
    assert asked_of(api.scene.house, Order("start", "backend")) is None


@pytest.mark.parametrize("action", ["releases", "plan"])
@pytest.mark.parametrize("at_check", ["as it was", "illegible"])
def test_rights_are_checked_on_the_services_that_a_run_reads(
    api: Api, ask: Client, monkeypatch: pytest.MonkeyPatch, at_check: str, action: str
) -> None:
    """A service is added to the release file after the token was checked, or while the file could not be read."""
    file, begin = api.folder / "release.yml", api.runner.start
    wider = yaml.safe_load(file.read_text())
    wider["services"]["audit"] = "audit.yml"
    (api.folder / "audit.yml").write_text((api.folder / "mailer.yml").read_text().replace("mailer", "audit"))

    def changed(*given: Any) -> Any:
        file.write_text(yaml.safe_dump(wider))
        return begin(*given)

    monkeypatch.setattr(api.runner, "start", changed)
    if at_check == "illegible":
        members_of = rights.members_of

        def illegible(*given: Any) -> rights.SetMembers:
            text = file.read_text()
            file.write_text("release: [")
            found = members_of(*given)
            file.write_text(text)
            return found

        monkeypatch.setattr(rights, "members_of", illegible)
    answer = post(ask, api.token("operator", *SERVICES), action, versions={"": "2.0"})
    assert (answer.status_code, answer.json()["exit"]) == (422, 2)
    assert answer.json()["message"] == "the set shop has audit, too, which the token is not for"
    assert not api.scene.house.store.releases.of("audit")
    assert len(api.scene.house.store.sets.of("shop")) == 1


@pytest.mark.parametrize("broken", ["release: [", None])
def test_a_file_of_a_server_is_what_it_says_when_it_is_read(api: Api, ask: Client, broken: str | None) -> None:
    """A release file that is illegible, or away, when the server starts is one as soon as it can be read."""
    file, token = api.folder / "release.yml", api.token("operator")
    text = file.read_text()
    file.unlink()
    if broken:
        file.write_text(broken)
    answer = post(ask, token, "releases")
    assert answer.status_code == 422
    assert "release.yml" in answer.text
    file.write_text(text)
    assert post(ask, token, "releases").status_code == 200
