"""Tokens of tenants: they are for the guests that are live, and for nothing of the owner."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deployer.server.context import ManifestSource
from deployer.server.tokens import Tokens
from tests.api import Api
from tests.unit.test_server import V1, Client


@pytest.fixture
def api(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    file = tmp_path / "tenants.yml"
    file.write_text("tenants: {acme: {cpus: 1, memory: 256m, services: 2}, beta: {cpus: 1, memory: 128m}}")
    monkeypatch.setenv("DEPLOYER_TENANTS", str(file))
    made = Api(state)
    made.scene.deploy("1.0")
    for service, tenant in (("blog", "acme"), ("wiki", "beta")):
        given = {"service": service, "image": f"{service}:1", "tenant": tenant}
        made.scene.deploy("1.0", manifest=given)
    yield made
    made.close()


def token(api: Api, tenant: str, *services: str) -> dict[str, str]:
    name = f"{tenant}-{len(api.tokens.all())}"
    _, text = api.tokens.create(name, "operator", services, 0, "test", tenant)
    return {"Authorization": f"Bearer {text}"}


def test_a_token_of_a_tenant_is_for_its_guests_alone(api: Api) -> None:
    ask = Client(api)
    ours = token(api, "acme")
    assert ask("GET", f"{V1}/services/blog", ours).status_code == 200
    for service in ("shop", "wiki", "nothing"):
        assert ask("GET", f"{V1}/services/{service}", ours).status_code == 403
        assert ask("POST", f"{V1}/services/{service}/rollback", ours, json={}).status_code == 403
    assert ask("GET", f"{V1}/audit", ours).status_code == 403
    assert [row["service"] for row in ask("GET", f"{V1}/services", ours).json()["services"]] == ["blog"]


def test_one_of_a_tenant_without_guests_is_for_nothing(api: Api) -> None:
    ask = Client(api)
    nobody = token(api, "gamma")
    for service in ("shop", "blog", "wiki", "-"):
        assert ask("GET", f"{V1}/services/{service}", nobody).status_code != 200
    assert ask("GET", f"{V1}/services", nobody).json()["services"] == []


def test_who_has_to_go_is_not_said_by_a_tenant(api: Api) -> None:
    ask = Client(api)
    ours, owner = token(api, "acme"), api.token("operator")
    for action in ("evict", "admit"):
        refused = ask("POST", f"{V1}/services/blog/{action}", ours, json={"reason": "because"})
        assert (refused.status_code, refused.json()["hint"]) == (
            403,
            "a token that is for no tenant may evict guests and let them in",
        )
    assert api.runner.orders == []
    assert ask("POST", f"{V1}/services/blog/evict", owner, json={"seconds": 60}).status_code == 422, "without a reason"
    body = {"reason": "because", "seconds": 60, "now": True}
    assert ask("POST", f"{V1}/services/blog/evict", owner, json=body).json()["outcome"] == "done"
    rows = {row["service"]: row for row in ask("GET", f"{V1}/services", owner).json()["services"]}
    assert {name: (row["tenant"], row["evicted"]) for name, row in rows.items()} == {
        "shop": ("", ""),
        "blog": ("acme", "person"),
        "wiki": ("beta", ""),
    }


def test_services_narrow_it_and_never_widen_it(api: Api) -> None:
    ask = Client(api)
    assert ask("GET", f"{V1}/services/blog", token(api, "acme", "blog")).status_code == 200
    assert ask("GET", f"{V1}/services/wiki", token(api, "acme", "wiki")).status_code == 403
    assert ask("GET", f"{V1}/services/blog", token(api, "acme", "wiki")).status_code == 403


def test_by_itself_it_is_for_nothing(api: Api) -> None:
    made, _ = api.tokens.create("x", "viewer", (), 0, "test", "acme")
    assert not made.sees("shop")
    assert not made.of_guests(()).sees("shop")
    assert made.of_guests(("blog",)).sees("blog")
    assert made.scope == "guests of acme"


def test_a_file_without_tenants_is_one_that_older_versions_read(state: Path, api: Api) -> None:
    api.tokens.create("ann", "viewer", (), 0, "test")
    text = api.tokens.path.read_text()
    assert "tenant" not in text
    token(api, "acme")
    assert {one.tenant for one in Tokens(state / "state", api.desk.clock).all()} == {"", "acme"}


def test_a_manifest_that_is_no_guests_any_more_is_refused_to_it_before_anything_of_it_is_run(
    api: Api, tmp_path: Path
) -> None:
    folder = tmp_path / "theirs"
    (folder / "strategies").mkdir(parents=True)
    (folder / "strategies" / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    plain = "service: blog\nimage: blog:1\nport: 80\nstrategy: evil\n"
    api.desk = replace(api.desk, sources=(*api.desk.sources, ManifestSource(folder / "deploy.yml")))
    for text, said in (
        (plain, "tenant: the token is for guests of acme"),
        (f"{plain}tenant: beta\n", "tenant: the token is for guests of acme"),
        (f"{plain}tenant: acme\n", "there is no strategy 'evil'"),
    ):
        (folder / "deploy.yml").write_text(text)
        answer = Client(api)("POST", f"{V1}/services/blog/rollouts", token(api, "acme"), json={})
        assert (answer.status_code, answer.json()["exit"]) == (422, 2), answer.text
        assert said in answer.json()["message"]
    assert not (tmp_path / "ran").exists()
