"""The HTTP API over a world in memory: who may do what, what is answered, what is streamed."""

from __future__ import annotations

import asyncio
import json
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployer import __version__
from deployer.app import operations, queries
from deployer.app.operations.execution import locked
from deployer.app.status import status_of
from deployer.core.errors import Exit
from deployer.core.events import Event
from deployer.manifest.fingerprint import fingerprint
from deployer.server import event_routes
from deployer.server.guard import OPEN, Caller, RequestLimits
from deployer.server.request_scope import HOOKS
from deployer.server.runs import Busy
from deployer.server.tokens import ROLES, Role
from tests.api import HOST, Api
from tests.documents import REPOSITORY
from tests.memory import Crash

V1 = "/api/v1"
HELD = {"strategy": "canary", "version": "2.0", "options": {"percent": 10, "hold": True}}


class Client:
    """Asks the application, without a network."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self._transport = httpx.ASGITransport(app=api.app())  # one application: rates are counted in it

    def __call__(
        self, method: str, path: str, token: Mapping[str, str | bytes] | None = None, **more: Any
    ) -> httpx.Response:
        async def ask() -> httpx.Response:
            base = more.pop("base", f"http://{HOST}")
            async with httpx.AsyncClient(transport=self._transport, base_url=base, timeout=20) as client:
                headers = {**(token or {}), **more.pop("headers", {})}
                return await client.request(method, path, headers=headers, **more)

        return asyncio.run(ask())


@pytest.fixture
def api(state: Path) -> Iterator[Api]:
    made = Api(state)
    yield made
    made.close()


@pytest.fixture
def ask(api: Api) -> Client:
    return Client(api)


@pytest.fixture
def held(api: Api, ask: Client) -> int:
    """A canary that waits for a person, begun by the API."""
    operator = api.token("operator")
    assert ask("POST", f"{V1}/services/shop/rollouts", operator, json={"version": "1.0"}).status_code == 200
    answer = ask("POST", f"{V1}/services/shop/rollouts", operator, json=HELD)
    assert (answer.status_code, answer.json()["outcome"]) == (200, "paused"), answer.text
    return int(answer.json()["rollout"])


# -- who may do what


def routes(api: Api) -> list[tuple[str, str]]:
    """Every route with its method, its parameters filled in."""
    schema = api.routes().openapi()
    found = []
    for path, methods in schema["paths"].items():
        filled = path.replace("{service}", "shop").replace("{number}", "1").replace("{run}", "0" * 16)
        filled = filled.replace("{name}", "shop").replace("{set}", "store")
        found += [(method.upper(), filled) for method in methods]
    return found


def test_the_document_has_every_route(api: Api) -> None:
    assert sorted({path.removeprefix(V1) for path in api.routes().openapi()["paths"]}) == [
        "/audit",
        "/health",
        "/hooks/{name}",
        "/metrics",
        "/rollouts/{number}",
        "/rollouts/{number}/events",
        "/rollouts/{number}/report",
        "/rollouts/{number}/state",
        "/services",
        "/services/{service}",
        "/services/{service}/abort",
        "/services/{service}/admit",
        "/services/{service}/approve",
        "/services/{service}/audit",
        "/services/{service}/contract",
        "/services/{service}/cost",
        "/services/{service}/down",
        "/services/{service}/drain",
        "/services/{service}/events",
        "/services/{service}/evict",
        "/services/{service}/jobs",
        "/services/{service}/logs",
        "/services/{service}/pause",
        "/services/{service}/plan",
        "/services/{service}/promote",
        "/services/{service}/release-lock",
        "/services/{service}/releases",
        "/services/{service}/resume",
        "/services/{service}/rollback",
        "/services/{service}/rollouts",
        "/services/{service}/run",
        "/services/{service}/runs/{run}",
        "/services/{service}/scale",
        "/sets",
        "/sets/{set}",
        "/sets/{set}/abort",
        "/sets/{set}/events",
        "/sets/{set}/pause",
        "/sets/{set}/plan",
        "/sets/{set}/promote",
        "/sets/{set}/releases",
        "/sets/{set}/resume",
        "/sets/{set}/rollback",
        "/sets/{set}/runs/{run}",
        "/sets/{set}/state",
    ]


def test_the_page_has_every_route_and_who_may_ask_it(api: Api) -> None:
    page = (REPOSITORY / "docs/server.md").read_text()
    rows = dict(re.findall(r"^\| `([A-Z]+ /[^`]*)` \| (\w+) \|", page, re.MULTILINE))
    paths = api.routes().openapi()["paths"]
    assert set(rows) == {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    wide = ("/metrics", f"{V1}/audit")
    api.desk.hub.close()  # a stream ends when it has told what there is
    for request, role in rows.items():
        method, path = request.split()
        path = path.replace("{service}", "shop").replace("{number}", "1").replace("{run}", "0" * 16)
        path = path.replace("{set}", "store")
        assert (path == OPEN) == (role == "none")
        assert path.startswith(HOOKS) == (role == "signature")
        if role == "signature":  # whoever has a token has none: test_hooks.py
            continue
        for given in ROLES:
            ask, services = Client(api), () if path in wide or "/sets/" in path else ("shop",)
            body = {"reason": 1} if method == "POST" else None  # it is refused by all who are let through
            answer = ask(method, path, api.token(given, *services), json=body)
            allowed = role == "none" or ROLES.index(given) >= ROLES.index(role)
            assert (answer.status_code != 403) == allowed, (request, given, answer.text)


def test_without_a_token_nothing_is_readable(api: Api, ask: Client, held: int) -> None:
    for method, path in [*routes(api), ("GET", f"{V1}/openapi.json"), ("GET", "/"), ("GET", "/docs")]:
        answer = ask(method, path, json={} if method == "POST" else None)
        if path == OPEN:
            assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
            continue
        assert answer.status_code == 401, (method, path)
        assert answer.headers["www-authenticate"] == ("Signature" if path.startswith(HOOKS) else "Bearer")
        assert "shop" not in answer.text.replace(path, "")


def test_a_viewer_changes_nothing(api: Api, ask: Client, held: int) -> None:
    viewer, before = api.token("viewer"), world(api)
    changing = [(method, path) for method, path in routes(api) if method != "GET"]
    assert len(changing) == 24
    for method, path in changing:
        answer = ask(method, path, viewer, json={"reason": "because"})
        if path.startswith(HOOKS):
            assert answer.status_code == 401
            continue
        assert answer.status_code == 403, (method, path, answer.text)
        assert "viewer" in answer.json()["message"]
    assert len(api.runner.orders) == 2  # those of the fixture
    assert world(api) == before


def world(api: Api) -> Any:
    return dict(api.scene.world.live), dict(api.scene.world.instances), len(api.scene.events)


@pytest.mark.parametrize("role", ROLES)
def test_a_token_is_for_its_services_only(api: Api, ask: Client, held: int, role: Role) -> None:
    other = api.token(role, "blog")
    for method, path in routes(api):
        answer = ask(method, path, other, json={"reason": "because"} if method == "POST" else None)
        if path == OPEN:
            continue
        if path.startswith(HOOKS):
            assert answer.status_code == 401
            continue
        if path in (f"{V1}/services", f"{V1}/sets"):
            assert answer.json() == {path.rpartition("/")[2]: []}
            continue
        assert answer.status_code in (403, 404), (method, path, answer.text)
        assert "2.0" not in answer.text
    assert len(api.runner.orders) == 2


@pytest.mark.parametrize(
    ("role", "path", "status"),
    [
        ("viewer", "/services/shop", 200),
        ("viewer", "/services/shop/audit", 200),
        ("viewer", "/audit", 403),
        ("operator", "/audit", 403),
        ("admin", "/audit", 200),
    ],
)
def test_what_a_role_may_read(api: Api, ask: Client, held: int, role: Role, path: str, status: int) -> None:
    assert ask("GET", f"{V1}{path}", api.token(role)).status_code == status


def test_an_operator_takes_nothing_down(api: Api, ask: Client, held: int) -> None:
    for action in ("down", "release-lock"):
        answer = ask("POST", f"{V1}/services/shop/{action}", api.token("operator"), json={"reason": "x"})
        assert answer.status_code == 403
    frozen = {"version": "3.0", "override_freeze": "it burns"}
    assert ask("POST", f"{V1}/services/shop/rollouts", api.token("operator"), json=frozen).status_code == 403


def test_a_token_ends(api: Api, ask: Client) -> None:
    short, other = api.token("viewer", lasts=60), api.token("viewer")
    assert ask("GET", f"{V1}/services", short).status_code == 200
    api.scene.world.clock.sleep(61)
    assert ask("GET", f"{V1}/services", short).status_code == 401
    assert ask("GET", f"{V1}/services", other).status_code == 200
    (standing,) = [t for t in api.tokens.all() if t.stands(api.scene.world.clock.now())]
    api.tokens.revoke(standing.name, "ann")
    assert ask("GET", f"{V1}/services", other).status_code == 401


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer x", "Basic YTpi", f"Bearer deploy_{'0' * 12}_{'a' * 43}", "Bearer é"]
)
def test_what_is_no_token_opens_nothing(ask: Client, header: str) -> None:
    assert ask("GET", f"{V1}/services", {"Authorization": header.encode("latin-1")}).status_code == 401


def test_only_hashes_are_kept_and_by_their_owner_alone(api: Api) -> None:
    header = api.token()
    secret = header["Authorization"].split("_", 2)[2]
    text = api.tokens.path.read_text()
    assert secret[-20:] not in text
    assert stat.S_IMODE(api.tokens.path.stat().st_mode) == 0o600


# -- what stands before the routes


def test_another_host_is_refused(api: Api, ask: Client) -> None:
    answer = ask("GET", OPEN, base="http://evil.example.com")
    assert answer.status_code == 400
    assert "--allow-host" in answer.json()["hint"]
    assert ask("GET", OPEN, base=f"http://{HOST}:8642").status_code == 200


def test_a_large_body_is_refused(api: Api, ask: Client) -> None:
    operator = api.token("operator")
    answer = ask("POST", f"{V1}/services/shop/rollouts", operator, content=b"x" * (64 * 1024 + 1))
    assert answer.status_code == 413

    async def dribble() -> Any:
        for _ in range(100):
            yield b"x" * 1024

    assert ask("POST", f"{V1}/services/shop/rollouts", operator, content=dribble()).status_code == 413
    assert api.runner.orders == []


def test_rates_are_limited_for_each_token_and_for_strangers(state: Path) -> None:
    api = Api(state, RequestLimits(rate=1, burst=3, stranger_rate=1, stranger_burst=2))
    ask, one, other = Client(api), api.token("viewer"), api.token("viewer")
    assert [ask("GET", f"{V1}/services", one).status_code for _ in range(4)] == [200, 200, 200, 429]
    assert ask("GET", f"{V1}/services", other).status_code == 200
    assert [ask("GET", f"{V1}/services").status_code for _ in range(3)] == [401, 401, 429]
    limited = ask("GET", f"{V1}/services")
    assert limited.headers["retry-after"] == "1"
    api.scene.world.clock.sleep(1)
    assert ask("GET", f"{V1}/services", one).status_code == 200
    api.close()


def test_every_answer_has_its_security_headers(api: Api, ask: Client, held: int) -> None:
    for path, token in ((OPEN, None), ("/", None), (f"{V1}/services", api.token()), ("/nowhere", api.token())):
        answer = ask("GET", path, token)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"
        assert "server" not in answer.headers


# -- looking


def test_what_is_read_is_what_the_commands_read(api: Api, ask: Client, held: int) -> None:
    viewer = api.token("viewer", "shop")
    with api.desk.house() as house:
        status = ask("GET", f"{V1}/services/shop", viewer).json()
        assert status == plain(status_of(house, "shop").to_dict())
        assert (status["stable_version"], status["candidate_version"], status["share"]) == ("1.0", "2.0", 1000)
        assert ask("GET", f"{V1}/rollouts/{held}", viewer).json() == plain(queries.show(house, held).to_dict())
        listed = ask("GET", f"{V1}/services/shop/rollouts", viewer, params={"limit": 1}).json()
        assert [row["number"] for row in listed["rollouts"]] == [held]
        assert len(ask("GET", f"{V1}/services/shop/releases", viewer).json()["releases"]) == 2
    owned = {"tenant": "", "evicted": ""}
    assert ask("GET", f"{V1}/services", viewer).json()["services"] == [
        {"service": "shop", "stable": 1, "stable_version": "1.0", "rollout": held, "outcome": "paused", **owned}
    ]


def plain(data: Any) -> Any:
    return json.loads(json.dumps(data, default=str))


@pytest.mark.parametrize(
    ("form", "kind", "part"),
    [
        ("html", "text/html", "<!doctype html>"),
        ("json", "application/json", '"rollout"'),
        ("junit", "application/xml", "<testsuite"),
        ("md", "text/markdown", "shop"),
    ],
)
def test_reports(api: Api, ask: Client, held: int, form: str, kind: str, part: str) -> None:
    answer = ask("GET", f"{V1}/rollouts/{held}/report", api.token("viewer"), params={"format": form})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(kind)
    assert part.lower() in answer.text.lower()


def test_what_there_is_not_is_not_found(api: Api, ask: Client, held: int) -> None:
    admin = api.token()
    for path in ("/services/blog", "/rollouts/99", "/rollouts/99/events", "/services/shop/runs/0", "/nothing"):
        answer = ask("GET", f"{V1}{path}", admin)
        assert (answer.status_code, answer.json()["exit"]) == (404, 2), path
    answer = ask("POST", f"{V1}/services/blog/rollouts", admin, json={})
    assert (answer.status_code, answer.json()["hint"]) == (404, "start it with `deploy serve -f FILE`")
    assert ask("POST", f"{V1}/services/blog/promote", admin, json={}).status_code == 404


def test_metrics(api: Api, ask: Client, held: int) -> None:
    ask("GET", f"{V1}/services", api.token("viewer"))
    answer = ask("GET", "/metrics", api.token("viewer"))
    assert answer.headers["content-type"].startswith("text/plain")
    lines = answer.text.splitlines()
    assert 'deployer_rollouts_total{exit="0",outcome="done",service="shop",strategy="canary"} 1.0' in lines
    assert 'deployer_rollout_open{service="shop",state="paused"} 1.0' in lines
    assert 'deployer_api_answers_total{method="GET",route="/services",status="200"} 1.0' in lines
    assert ask("GET", "/metrics", api.token("admin", "shop")).status_code == 403


# -- acting


def test_a_canary_is_promoted(api: Api, ask: Client, held: int) -> None:
    answer = ask("POST", f"{V1}/services/shop/promote", api.token("operator", "shop"), json={"reason": "looks good"})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["ended"], told["exit"], told["outcome"], told["rollout"]) == (True, 0, "done", held)
    assert ask("GET", answer.headers["location"], api.token("viewer")).json() == told
    assert ask("GET", f"{V1}/services/shop", api.token("viewer")).json()["stable_version"] == "2.0"


def test_abort_resume_and_rollback(api: Api, ask: Client, held: int) -> None:
    operator = api.token("operator")
    assert ask("POST", f"{V1}/services/shop/abort", operator, json={}).json()["outcome"] == "reverted"
    assert ask("POST", f"{V1}/services/shop/rollouts", operator, json=HELD).json()["outcome"] == "paused"
    assert ask("POST", f"{V1}/services/shop/resume", operator, json={}).json()["outcome"] == "done"
    told = ask("POST", f"{V1}/services/shop/rollback", operator, json={"to": 1, "reason": "slow"}).json()
    assert (told["exit"], told["action"]) == (0, "rollback")
    status = ask("GET", f"{V1}/services/shop", operator).json()
    assert status["stable_version"] == "1.0"
    assert ask("POST", f"{V1}/services/shop/pause", operator, json={}).status_code == 422


def test_what_an_order_says_is_who_gave_it(api: Api, ask: Client, held: int) -> None:
    run = next(iter(api.runner.runs.values()))
    assert run.by.startswith("operator-")
    assert re.fullmatch(r"API, from 127\.0\.0\.1, token [0-9a-f]{12}", run.origin)


def test_a_worse_release_is_told_with_its_exit_code(api: Api, ask: Client) -> None:
    operator = api.token("operator")
    ask("POST", f"{V1}/services/shop/rollouts", operator, json={"version": "1.0"})
    api.scene.world.worse = {"2.0"}
    answer = ask("POST", f"{V1}/services/shop/rollouts", operator, json={"version": "2.0"})
    assert (answer.status_code, answer.json()["exit"], answer.json()["outcome"]) == (200, Exit.VERDICT, "reverted")


def test_what_goes_on_is_accepted(api: Api, ask: Client) -> None:
    api.runner.slow = True
    operator = api.token("operator")
    answer = ask("POST", f"{V1}/services/shop/rollouts", operator, json={"version": "1.0"}, params={"wait": 0})
    assert (answer.status_code, answer.json()["ended"], answer.json()["exit"]) == (202, False, None)
    assert ask("GET", answer.headers["location"], operator).json() == answer.json()


def test_a_service_in_other_hands_is_a_conflict(api: Api, ask: Client, held: int) -> None:
    with locked(api.scene.house, "shop", "something else"):
        answer = ask("POST", f"{V1}/services/shop/rollouts", api.token("operator"), json={"version": "3.0"})
    assert answer.status_code == 409
    assert answer.json()["exit"] == Exit.LOCKED


def test_too_much_at_once_is_told(api: Api, ask: Client, held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: object) -> None:
        raise Busy("32 orders are in progress", "later")

    monkeypatch.setattr(api.runner, "start", busy)
    answer = ask("POST", f"{V1}/services/shop/abort", api.token("operator"), json={})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")


@pytest.mark.parametrize(
    "body",
    [
        {"version": "../../etc"},
        {"version": "2.0", "strategy": "--help"},
        {"version": "2.0", "strategy": "nothing"},
        {"version": "2.0", "options": {"precent": 10}},
        {"version": "2.0", "percent": 10},
        {"version": "2.0", "reason": "\x1b[31m"},
        {"version": "2.0", "reason": "x" * 2001},
        {"manifest": "/etc/passwd"},
    ],
)
def test_what_is_no_deploy_is_refused_before_anything_changes(api: Api, ask: Client, body: dict[str, Any]) -> None:
    answer = ask("POST", f"{V1}/services/shop/rollouts", api.token("admin"), json=body)
    assert answer.status_code == 422
    assert answer.json()["exit"] == Exit.REFUSED
    assert api.scene.world.instances == {}


def test_a_broken_manifest_is_told_with_all_its_problems(api: Api, ask: Client) -> None:
    api.manifest.write_text("service: shop\nimage: shop\nport: none\nhealht: {}\n")
    answer = ask("POST", f"{V1}/services/shop/rollouts", api.token("admin"), json={})
    assert answer.status_code == 422
    assert "2 problems" in answer.json()["message"]


def test_a_plan_is_a_run_and_changes_nothing(api: Api, ask: Client) -> None:
    operator = api.token("operator", "shop")
    told = ask("POST", f"{V1}/services/shop/plan", operator, json={"version": "1.0"}).json()
    assert (told["action"], told["exit"], told["rollout"], told["plan"]["same"]) == ("plan", 0, 0, False)
    assert told["plan"]["forward"][0] == "start 2 instances of r1 as blue"
    assert api.scene.world.instances == {}
    ask("POST", f"{V1}/services/shop/rollouts", operator, json={"version": "1.0"})
    told = ask("POST", f"{V1}/services/shop/plan", operator, json={"version": "1.0"}).json()
    assert (told["plan"]["same"], told["text"]) == (True, "1.0 is live already: nothing to deploy")
    assert ask("POST", f"{V1}/services/shop/plan", operator, json={"options": {"percent": 0}}).status_code == 422
    assert ask("POST", f"{V1}/services/shop/plan", operator, json={"replace": True}).status_code == 422


def test_a_deploy_is_by_the_manifest_that_is_meant(api: Api, ask: Client) -> None:
    operator, meant = api.token("operator"), {"version": "1.0", "fingerprint": fingerprint(api.manifest)}
    assert ask("POST", f"{V1}/services/shop/rollouts", operator, json=meant).json()["outcome"] == "done"
    api.manifest.write_text(f"{api.manifest.read_text()}\n")
    for path in ("rollouts", "plan"):
        answer = ask("POST", f"{V1}/services/shop/{path}", operator, json={**meant, "version": "2.0"})
        assert (answer.status_code, answer.json()["exit"]) == (422, Exit.REFUSED)
        assert "differs from yours" in answer.json()["message"]


def test_an_order_with_the_same_key_is_the_same_order(api: Api, ask: Client, held: int) -> None:
    operator, key = api.token("operator"), {"Idempotency-Key": "once-and-only-once"}
    path, body = f"{V1}/services/shop/promote", {"reason": "good", "rollout": held}
    first = ask("POST", path, operator, json=body, headers=key)
    assert (first.status_code, first.json()["outcome"]) == (200, "done")
    again = ask("POST", path, operator, json=body, headers=key)
    assert (again.status_code, again.json()) == (200, first.json())
    assert again.headers["location"] == first.headers["location"]
    assert len(api.runner.orders) == 3
    other = ask("POST", path, operator, json={"reason": "another", "rollout": held}, headers=key)
    assert (other.status_code, other.json()["message"]) == (422, "this Idempotency-Key was used for another order")
    somebody = ask("POST", path, api.token("operator"), json=body, headers=key)
    assert somebody.status_code == 409, "the key of another token is another key"
    assert ask("POST", path, operator, json=body, headers={"Idempotency-Key": "short"}).status_code == 422


def test_how_far_a_rollout_is(api: Api, ask: Client, held: int) -> None:
    viewer = api.token("viewer")
    state = ask("GET", f"{V1}/rollouts/{held}/state", viewer).json()
    assert (state["service"], state["outcome"], state["exit"], state["running"]) == ("shop", "paused", 0, False)
    assert state["last_event"] == api.scene.house.store.events.of(held)[-1].id
    with locked(api.scene.house, "shop", "a person looks"):
        assert ask("GET", f"{V1}/rollouts/{held}/state", viewer).json()["running"]
        assert not ask("GET", f"{V1}/rollouts/1/state", viewer).json()["running"], "that one has ended"


def test_what_instances_wrote(api: Api, ask: Client, held: int) -> None:
    operator, path = api.token("operator"), f"{V1}/services/shop/logs"
    told = ask("GET", path, operator, params={"colour": "green"}).json()
    assert [one["instance"] for one in told["instances"]] == ["shop-r2-1", "shop-r2-2"]
    assert told["instances"][0]["lines"] == ["last words of shop-r2-1"]
    assert ask("GET", path, operator, params={"colour": "baseline"}).json()["instances"] == []
    assert ask("GET", path, operator, params={"lines": 0}).status_code == 422


def test_a_client_hears_which_version_answers_and_a_stranger_does_not(api: Api, ask: Client) -> None:
    assert ask("GET", f"{V1}/services", api.token("viewer")).headers["x-deployer-version"] == __version__
    assert "x-deployer-version" not in ask("GET", f"{V1}/services").headers
    assert "x-deployer-version" not in ask("GET", OPEN).headers


def test_down_and_the_lock_need_a_reason(api: Api, ask: Client) -> None:
    admin = api.token("admin")
    ask("POST", f"{V1}/services/shop/rollouts", admin, json={"version": "1.0"})
    assert ask("POST", f"{V1}/services/shop/down", admin, json={}).status_code == 422
    answer = ask("POST", f"{V1}/services/shop/release-lock", admin, json={"reason": "gone"})
    assert "is free" in answer.json()["message"]
    down = ask("POST", f"{V1}/services/shop/down", admin, json={"reason": "the end"}).json()
    assert down["text"] == "shop is down; removed: shop-r1-1, shop-r1-2"
    assert api.scene.world.instances == {}


# -- events


def read(stream: str) -> list[tuple[int, str]]:
    """Return id and kind of all events of a stream."""
    found = re.findall(r"(?:id: (\d+)\n)?event: (\S+)\n", stream)
    return [(int(number or 0), kind) for number, kind in found]


def test_the_stream_of_a_rollout_ends_with_it_and_is_resumed_where_it_broke(api: Api, ask: Client, held: int) -> None:
    viewer = api.token("viewer")
    operations.promote(api.scene.house, "shop")
    answer = ask("GET", f"{V1}/rollouts/{held}/events", viewer)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.startswith("retry: 1000\n\n")
    events = read(answer.text)
    assert events == [(event.id, event.kind) for event in api.scene.house.store.events.of(held)]
    assert (events[0][1], events[-1][1]) == ("rollout.started", "rollout.ended")
    middle = events[len(events) // 2][0]
    again = ask("GET", f"{V1}/rollouts/{held}/events", viewer, headers={"Last-Event-ID": str(middle)})
    assert read(again.text) == [event for event in events if event[0] > middle]
    last = ask("GET", f"{V1}/rollouts/{held}/events", viewer, headers={"Last-Event-ID": str(events[-1][0])})
    assert (last.status_code, last.text) == (204, "")
    assert ask("GET", f"{V1}/rollouts/{held}/events", viewer, headers={"Last-Event-ID": "x"}).status_code == 422


@pytest.mark.parametrize("revoked", [False, True])
def test_a_stream_ends_with_its_token(api: Api, held: int, revoked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_routes, "ALIVE_SECONDS", 0.01)
    header = api.token("viewer", "shop")
    found = api.tokens.find(header["Authorization"].removeprefix("Bearer "))
    assert found is not None
    listener = event_routes._StreamClient(api.desk, Caller(found, "test"), frozenset({"shop"}), held)

    async def listen() -> list[str]:
        said = []
        async with asyncio.timeout(20):
            async for text in listener.of_rollout(0):
                said.append(text)
                api.scene.world.clock.sleep(1)
                if len(said) == 3 and revoked:
                    api.tokens.revoke(found.id, "ann")
                elif len(said) == 3:
                    await asyncio.to_thread(operations.promote, api.scene.house, "shop")
        return said

    said = asyncio.run(listen())
    assert said[1:3] == [": alive\n\n"] * 2
    assert ("event: rollout.ended" in "".join(said)) == (not revoked)


# -- approvals


@pytest.fixture
def waiting(api: Api) -> int:
    """A canary that waits for two people, its process dead: what they say is recorded all the same."""
    api.scene.deploy("1.0")
    api.scene.house.sink = _dies_when_asked
    consent = {"by": ["ann", "ben"], "role": "admin", "count": 2, "within": "1h"}
    with pytest.raises(Crash):
        api.scene.deploy("2.0", "canary", manifest={"approve": consent})
    api.scene.house.sink = api.scene.events.append
    return 2


def _dies_when_asked(event: Event) -> None:
    if event.kind == "approval.asked":
        raise Crash("killed")


def as_person(api: Api, monkeypatch: pytest.MonkeyPatch, name: str, role: Role = "operator") -> dict[str, str]:
    """Return the header of somebody, for whom the runner acts as a process of theirs would."""
    monkeypatch.setenv("DEPLOYER_ACTOR", name)
    return {"Authorization": f"Bearer {api.tokens.create(name, role, (), 0.0, 'test')[1]}"}


def test_approvals_by_those_who_are_asked(api: Api, ask: Client, waiting: int, monkeypatch: pytest.MonkeyPatch) -> None:
    path = f"{V1}/services/shop/approve"
    answer = ask("POST", path, as_person(api, monkeypatch, "carl"), json={})
    assert (answer.status_code, answer.json()["exit"]) == (422, Exit.REFUSED)
    assert "carl is not asked: it needs the approval of 2 of ann, ben and admins" in answer.json()["message"]
    ann = as_person(api, monkeypatch, "ann")
    told = ask("POST", path, ann, json={"reason": "fine", "rollout": waiting}).json()
    assert told["text"].startswith("rollout 2 of shop: approved by ann@")
    assert ask("POST", path, ann, json={}).status_code == 422, "the same person counts once"
    assert ask("POST", path, ann, json={"rollout": 1}).status_code == 409
    status = ask("GET", f"{V1}/services/shop", ann).json()["approval"]
    assert (status["whose"], len(status["given"]), status["count"]) == ("2 of ann, ben and admins", 1, 2)
    assert ask("POST", path, as_person(api, monkeypatch, "dora", "admin"), json={}).status_code == 200, "by the role"
    assert ask("POST", f"{V1}/services/shop/resume", ann, json={}).json()["outcome"] == "done"


def test_a_refusal_needs_a_reason_and_takes_it_back(
    api: Api, ask: Client, waiting: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, ann = f"{V1}/services/shop/approve", as_person(api, monkeypatch, "ann")
    assert ask("POST", path, ann, json={"refuse": True}).status_code == 422
    told = ask("POST", path, ann, json={"refuse": True, "reason": "not today"}).json()
    assert told["outcome"] == "reverted"


def test_a_promotion_past_it_needs_force_a_reason_and_an_admin(
    api: Api, ask: Client, waiting: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, ann = f"{V1}/services/shop/promote", as_person(api, monkeypatch, "ann")
    refused = ask("POST", path, ann, json={})
    assert (refused.status_code, "needs the approval of 2 of" in refused.json()["message"]) == (422, True)
    assert ask("POST", path, ann, json={"force": True, "reason": "now"}).status_code == 403
    admin = as_person(api, monkeypatch, "dora", "admin")
    assert ask("POST", path, admin, json={"force": True}).status_code == 422
    assert ask("POST", path, admin, json={"force": True, "reason": "now"}).json()["outcome"] == "done"
