"""The page over a world in memory: logging in, what each route asks for, what is shown, what may be asked for."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from deployer.app import operations, plans, queries
from deployer.app.jobs.runs import run_now
from deployer.app.operations import AppContext, adjust
from deployer.app.reports.gather import gather
from deployer.core.errors import StepFailed
from deployer.core.events import Event
from deployer.core.secret import SecretText
from deployer.server import event_routes, reports, sessions
from deployer.server.context import ServerContext
from deployer.server.guard import Caller, RequestLimits
from deployer.server.page import routes as pages
from deployer.server.page.assets import FILES
from deployer.server.request_scope import COOKIE, CSRF, HOOKS
from deployer.server.tokens import ROLES, Role
from deployer.store.loads import SeenLoads
from deployer.views.data import RolloutView
from deployer.views.report.data import ReportView
from tests.api import HOST, Api
from tests.memory import Crash, MemoryRuntime
from tests.unit.test_server import HELD, V1, Client, routes, world

HERE = {"origin": f"http://{HOST}"}
HTML = {"accept": "text/html"}
PAGES = ["/", "/audit", "/rollouts/1", "/services/shop", "/services/shop/logs"]
LEAST = {"/audit": "admin", "/services/shop/logs": "operator"}  # the role that a page needs


@pytest.fixture
def api(state: Path) -> Iterator[Api]:
    made = Api(state)
    yield made
    made.close()


@pytest.fixture
def ask(api: Api) -> Client:
    return Client(api)


@pytest.fixture
def held(api: Api) -> int:
    """A canary that waits for a person."""
    api.scene.deploy("1.0")
    ending = api.scene.deploy("2.0", "canary", options={"percent": 10, "hold": True}, message="<b>VAT</b>")
    return int(ending.rollout)


def entered(api: Api, ask: Client, role: Role = "operator", *services: str, **form: str) -> httpx.Response:
    text = api.token(role, *services)["Authorization"].removeprefix("Bearer ")
    return ask("POST", "/login", HERE, data={"token": text, **form})


def session(api: Api, ask: Client, role: Role = "operator", *services: str) -> dict[str, str]:
    """Log in; return the headers that the page sends."""
    cookie = entered(api, ask, role, *services).headers["set-cookie"].partition(";")[0]
    page = ask("GET", "/", {"cookie": cookie}).text
    return {"cookie": cookie, CSRF: re.findall(r'<meta name="csrf" content="([^"]+)">', page)[0], **HERE}


# -- who gets in


def test_every_route_of_the_page_is_known() -> None:
    app = FastAPI()
    app.include_router(pages.router)
    assert sorted((m.upper(), path) for path, methods in app.openapi()["paths"].items() for m in methods) == [
        ("GET", "/"),
        ("GET", "/assets/{name}"),
        ("GET", "/audit"),
        ("GET", "/login"),
        ("GET", "/rollouts/{number}"),
        ("GET", "/services/{service}"),
        ("GET", "/services/{service}/logs"),
        ("GET", "/sets/{set}"),
        ("POST", "/login"),
        ("POST", "/logout"),
    ]


@pytest.mark.parametrize("path", [*PAGES, "/nowhere"])
def test_without_a_session_there_is_only_the_login(api: Api, ask: Client, held: int, path: str) -> None:
    for cookie in ({}, {"cookie": f"{COOKIE}=x"}, {"cookie": f"{COOKIE}="}):
        answer = ask("GET", path, {**cookie, **HTML})
        assert (answer.status_code, answer.headers["location"]) == (303, f"/login?next={path}")
        assert ask("GET", path, cookie).status_code == 401
    assert ask("POST", "/logout", HERE).status_code == 401
    login = ask("GET", "/login", HTML)
    assert login.status_code == 200
    assert "shop" not in login.text


@pytest.mark.parametrize("role", ROLES)
def test_who_may_see_which_page(api: Api, ask: Client, held: int, role: Role) -> None:
    mine = session(api, ask, role)
    for path in PAGES:
        allowed = ROLES.index(role) >= ROLES.index(LEAST.get(path, "viewer"))
        assert ask("GET", path, mine).status_code == (200 if allowed else 403), path
    other = session(api, ask, role, "blog")
    for path in PAGES:
        answer = ask("GET", path, {**other, **HTML})
        assert answer.status_code == (200 if path == "/" else 404 if path == "/rollouts/1" else 403), path
        assert "2.0" not in answer.text


def test_a_wrong_token_opens_nothing(api: Api, ask: Client) -> None:
    for text in ("", "x", f"deploy_{'0' * 12}_{'a' * 43}"):
        answer = ask("POST", "/login", {**HERE, **HTML}, data={"token": text})
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers
        assert "Invalid token" in answer.text
    assert ask("POST", "/login", HERE, content=b"\xff\xfe=").status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "null"},
        {"origin": "http://evil.example.com"},
        {**HERE, "sec-fetch-site": "cross-site"},
        {**HERE, "sec-fetch-site": "same-site"},
    ],
)
def test_another_page_logs_nobody_in(api: Api, ask: Client, headers: dict[str, str]) -> None:
    text = api.token()["Authorization"].removeprefix("Bearer ")
    answer = ask("POST", "/login", headers, data={"token": text})
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_logins_are_limited_for_those_alone_who_are_wrong(state: Path) -> None:
    api = Api(state, RequestLimits(stranger_rate=1, stranger_burst=2))
    ask = Client(api)
    text = api.token()["Authorization"].removeprefix("Bearer ")
    for _ in range(3):
        assert ask("POST", "/login", HERE, data={"token": text}).status_code == 303, "a valid one takes nothing"
    assert [ask("POST", "/login", HERE, data={"token": "x"}).status_code for _ in range(3)] == [401, 401, 429]
    assert ask("POST", "/login", HERE, data={"token": text}).status_code == 303, "who shares the address comes in"
    assert ask("GET", "/api/v1/services").status_code == 401, "another door has a bucket of its own"
    api.close()


@pytest.mark.parametrize("secure", [False, True])
def test_the_cookie_is_for_our_own_page_alone(api: Api, ask: Client, secure: bool) -> None:
    text = api.token()["Authorization"].removeprefix("Bearer ")
    origin = {"origin": f"https://{HOST}"} if secure else HERE
    answer = ask("POST", "/login", origin, data={"token": text})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    (cookie,) = answer.headers.get_list("set-cookie")
    value, *flags = cookie.split("; ")
    assert {"HttpOnly", "SameSite=strict", "Path=/", f"Max-Age={int(sessions.LONGEST_SECONDS)}"} <= set(flags)
    assert ("Secure" in flags) == secure
    assert text.split("_", 2)[2] not in value, "the token is not in the browser"
    assert "Domain" not in cookie


@pytest.mark.parametrize(
    ("wanted", "to"),
    [
        ("/rollouts/3", "/rollouts/3"),
        ("//evil.example.com", "/"),
        ("/\\evil.example.com", "/"),
        ("https://evil.example.com/", "/"),
        ("/%0d%0aset-cookie:x", "/"),
    ],
)
def test_a_login_leads_nowhere_else(api: Api, ask: Client, wanted: str, to: str) -> None:
    answer = entered(api, ask, next=wanted)
    assert answer.headers["location"] == to
    cookie = {"cookie": answer.headers["set-cookie"].partition(";")[0]}
    assert ask("GET", "/login", cookie, params={"next": wanted}).headers["location"] == to
    assert ask("GET", "/login", params={"next": wanted}).text.count(f'value="{to}"') == 1


@pytest.mark.parametrize("how", ["idle", "longest", "revoked", "logout"])
def test_a_session_ends(api: Api, ask: Client, held: int, how: str) -> None:
    mine, clock = session(api, ask), api.scene.world.clock
    if how == "longest":
        for _ in range(int(sessions.LONGEST_SECONDS / sessions.IDLE_SECONDS * 2) - 1):
            clock.sleep(sessions.IDLE_SECONDS / 2)
            assert ask("GET", "/", mine).status_code == 200
        clock.sleep(sessions.IDLE_SECONDS / 2)
    elif how == "idle":
        clock.sleep(sessions.IDLE_SECONDS)
    elif how == "revoked":
        api.tokens.revoke(api.tokens.all()[-1].id, "ann")
    else:
        answer = ask("POST", "/logout", mine)
        assert answer.status_code == 204
        assert f'{COOKIE}=""; ' in answer.headers["set-cookie"]
    assert ask("GET", "/", mine).status_code == 401
    assert ask("GET", f"{V1}/services/shop", mine).status_code == 401


def test_sessions_are_bounded(api: Api, ask: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MOST", 2)
    first, second = session(api, ask), session(api, ask)
    assert ask("GET", "/", first).status_code == 200
    third = session(api, ask)
    assert [ask("GET", "/", one).status_code for one in (first, second, third)] == [200, 401, 200]


def test_a_cookie_does_not_help_a_bad_token(api: Api, ask: Client) -> None:
    mine = session(api, ask)
    assert ask("GET", f"{V1}/services", mine).status_code == 200
    assert ask("GET", f"{V1}/services", {**mine, "Authorization": "Bearer x"}).status_code == 401


def test_a_stream_ends_with_its_session(api: Api, held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_routes, "ALIVE_SECONDS", 0.01)
    text = api.token("viewer", "shop")["Authorization"].removeprefix("Bearer ")
    cookie = api.desk.sessions.begin(text)
    found = api.desk.sessions.find(cookie or "")
    assert found is not None
    listener = event_routes._StreamClient(api.desk, Caller(found.token, "test", found), frozenset({"shop"}), held)

    async def listen() -> list[str]:
        said = []
        async with asyncio.timeout(20):
            async for part in listener.of_rollout(0):
                said.append(part)
                api.scene.world.clock.sleep(1)
                if len(said) == 3:
                    api.desk.sessions.end(found)
        return said

    assert asyncio.run(listen())[1:] == [": alive\n\n"] * 2


# -- what changes something


def test_only_our_own_page_changes_anything(api: Api, ask: Client, held: int) -> None:
    mine, before = session(api, ask, "admin"), world(api)
    posted = [path for method, path in routes(api) if method == "POST" and not path.startswith(HOOKS)]
    changing = [*posted, "/logout"]
    bare = {"cookie": mine["cookie"]}
    forged: list[dict[str, str]] = [
        bare,
        {**bare, **HERE},
        {**bare, **HERE, CSRF: "x"},
        {**bare, **HERE, CSRF: session(api, ask, "admin")[CSRF]},  # of another session
        {**bare, CSRF: mine[CSRF]},
        {**mine, "origin": "https://evil.example.com"},
        {**mine, "origin": "null"},
        {**mine, "sec-fetch-site": "cross-site"},
    ]
    assert len(changing) == 24
    for path in changing:
        for headers in forged:
            answer = ask("POST", path, headers, json={"reason": "because"})
            assert answer.status_code == 403, (path, headers, answer.text)
    assert api.runner.orders == []
    assert world(api) == before
    answer = ask("POST", f"{V1}/services/shop/abort", mine, json={"reason": "because", "rollout": held})
    assert (answer.status_code, answer.json()["outcome"]) == (200, "reverted")
    run = next(iter(api.runner.runs.values()))
    assert re.fullmatch(r"page, from 127\.0\.0\.1, token [0-9a-f]{12}", run.origin)


def test_a_viewer_changes_nothing_by_the_page(api: Api, ask: Client, held: int) -> None:
    mine = session(api, ask, "viewer")
    for method, path in routes(api):
        if method == "POST":
            wrong = 401 if path.startswith(HOOKS) else 403  # a session is no signature
            assert ask("POST", path, mine, json={"reason": "because"}).status_code == wrong, path
    assert api.runner.orders == []
    for path in ("/services/shop", f"/rollouts/{held}"):
        text = ask("GET", path, mine).text
        assert re.findall(r"<button[^>]*>([^<]*)", text) == ["Log out"]
        assert "<dialog" not in text


@pytest.mark.parametrize("action", ["promote", "abort", "pause", "resume", "rollback"])
def test_what_was_decided_is_about_one_rollout(api: Api, ask: Client, held: int, action: str) -> None:
    operator = api.token("operator")
    for number in (held + 1, 0):
        answer = ask("POST", f"{V1}/services/shop/{action}", operator, json={"rollout": number})
        assert answer.status_code == 409
        assert f"rollout {held} is now" in answer.json()["message"]
    assert api.runner.orders == []
    operations.promote(api.scene.house, "shop")
    answer = ask("POST", f"{V1}/services/shop/{action}", operator, json={"rollout": held})
    assert (answer.status_code, answer.json()["message"]) == (
        409,
        f"rollout {held} is not in progress any more: none is now",
    )


# -- what is shown


def dialogs(text: str) -> dict[str, str]:
    """Return the words of the dialogs of a page, by action."""
    parts = re.findall(r"<dialog .*?</dialog>", text, re.DOTALL)
    return {re.findall(r'id="ask-(\w+)"', part)[0]: re.sub(r"<[^>]+>", " ", part) for part in parts}


def test_dialogs_say_what_will_happen(api: Api, ask: Client, held: int) -> None:
    mine = session(api, ask)
    rollout = api.scene.house.store.rollouts.get(held)
    said = dialogs(ask("GET", f"/rollouts/{held}", mine).text)
    assert set(said) == {"promote", "resume", "abort"}
    for step in rollout.plan.back:
        assert step.explain() in said["abort"]
    assert "All users of shop go to r2 (2.0) now" in said["promote"]
    assert "promote: r2" in said["promote"]
    assert "hold at" not in said["promote"], "that is passed"
    operations.promote(api.scene.house, "shop")
    assert dialogs(ask("GET", f"/rollouts/{held}", mine).text) == {}
    said = dialogs(ask("GET", "/services/shop", mine).text)
    assert set(said) == {"rollback", "deploy"}
    assert "leave r2 (2.0); back to r1 (1.0): its environment is warm" in said["rollback"]


def test_the_first_release_has_nothing_to_go_back_to(api: Api, ask: Client) -> None:
    api.scene.deploy("1.0")
    assert set(dialogs(ask("GET", "/services/shop", session(api, ask)).text)) == {"deploy"}
    with api.desk.house() as house:
        assert plans.way_back(house, "shop") is None


def test_an_operator_may_deploy_a_version_of_a_service_that_rests(api: Api, ask: Client, held: int) -> None:
    mine = session(api, ask)
    assert "ask-deploy" not in ask("GET", "/services/shop", mine).text, "a rollout is in progress"
    operations.promote(api.scene.house, "shop")
    page = ask("GET", "/services/shop", mine).text
    strategies = re.findall(r'<option value="(\w*)">([^<]*)', page.partition("<select")[2].partition("</select>")[0])
    assert strategies[0] == ("canary", "canary (the manifest's)")
    assert {name for name, _ in strategies} == {"canary", "bluegreen", "rolling", "recreate"}
    assert re.findall(r'<option value="([\d.]+)">([^<]*)', page) == [("2.0", "r2, live"), ("1.0", "r1, good")]
    assert "r2 (2.0) is live." in dialogs(page)["deploy"]
    assert "as the manifest says" in dialogs(page)["deploy"]
    assert "ask-deploy" not in ask("GET", "/services/shop", session(api, ask, "viewer")).text
    for path, body in (("plan", {}), ("rollouts", {"rollout": 0, "reason": "because"})):
        assert f'data-{"plan" if path == "plan" else "post"}="{V1}/services/shop/{path}"' in page
        form = {"version": "3.0", "strategy": "bluegreen", **body}
        answer = ask("POST", f"{V1}/services/shop/{path}", mine, json=form)
        assert answer.status_code == 200, answer.text
    assert api.scene.house.store.rollouts.get(answer.json()["rollout"]).message == "because"


def test_a_deploy_form_has_what_fits(api: Api, ask: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    api.scene.deploy("1.0", "recreate")
    mine = session(api, ask)
    choices = ask("GET", "/services/shop", mine).text.partition("<select")[2].partition("</select>")[0]
    assert re.findall(r'<option value="(\w*)"', choices) == ["canary", "recreate"], "others would run it beside another"
    api.manifest.write_text("service: shop\nport: x\n")
    broken = ask("GET", "/services/shop", mine)
    assert broken.status_code == 200
    refused = ask("POST", f"{V1}/services/shop/plan", mine, json={"version": "2.0"})
    assert (refused.status_code, "port" in refused.json()["message"]) == (422, True)
    monkeypatch.setattr(api.desk, "sources", ())
    assert "ask-deploy" not in ask("GET", "/services/shop", mine).text, "there is no manifest to deploy by"


def test_a_version_is_refused_in_the_words_of_the_command(api: Api, ask: Client, held: int) -> None:
    operations.promote(api.scene.house, "shop")
    answer = ask("POST", f"{V1}/services/shop/plan", session(api, ask), json={"version": "a b"})
    assert answer.status_code == 422
    assert "version: must be a version: letters, digits, `.`, `_` and `-`, not 'a b'" in answer.json()["message"]


def test_the_list_of_services_leads_to_the_way_back_and_says_the_cause(api: Api, ask: Client, held: int) -> None:
    mine, viewer = session(api, ask), session(api, ask, "viewer")
    assert f'href="/rollouts/{held}#ask-abort"' in ask("GET", "/", mine).text
    operations.promote(api.scene.house, "shop")
    home = ask("GET", "/", mine).text
    assert '<a href="/services/shop#ask-rollback" class="way">Roll back to r1 (1.0)…</a>' in home
    assert "#ask-" not in ask("GET", "/", viewer).text
    api.scene.deploy("3.0", "canary", options={"percent": 10, "hold": True})
    operations.stop(api.scene.house, "shop", "prices are wrong")
    text = api.scene.house.store.rollouts.of("shop", 1)[0].text
    assert text
    for path in ("/", "/services/shop"):
        assert text in unescape(ask("GET", path, viewer).text), path


def test_times_are_for_machines_too_and_name_their_zone(api: Api, ask: Client, held: int) -> None:
    mine = session(api, ask, "admin")
    for path in ("/", "/audit", "/services/shop", f"/rollouts/{held}"):
        times = re.findall(r"<time ([^>]*datetime[^>]*)>([^<]+)<", ask("GET", path, mine).text)
        assert times, path
        for attributes, text in times:
            assert re.search(r'datetime="\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"', attributes), attributes
            assert re.search(r'title="[\d: -]+ UTC', attributes), attributes
            assert re.search(r'data-shows="(date|clock|ago)"', attributes), attributes
            assert text


def test_what_the_way_back_says_is_what_is_done(api: Api, held: int) -> None:
    operations.promote(api.scene.house, "shop")
    with api.desk.house() as house:
        way = plans.way_back(house, "shop")
        assert way is not None
        ending = operations.rollback(house, "shop", to=way.release)
        done = house.store.rollouts.get(ending.rollout)
    assert (way.origin, way.release, way.version) == (2, 1, "1.0")
    assert way.forward == tuple(step.explain() for step in done.plan.forward)


class Seen(HTMLParser):
    """Looks for what no page may have: scripts and styles in it, elements left open, ids twice."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.bad: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.feed(text)
        self.close()
        self.bad += [f"open: {name}" for name in self.open]
        self.bad += [f"twice: {name}" for name in self.ids if self.ids.count(name) > 1]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.bad += [f"{tag} {name}" for name in given if name == "style" or name.startswith("on")]
        self.bad += [tag] if tag == "style" or (tag == "script" and "src" not in given) else []
        self.links += [value for name in ("src", "href") if (value := given.get(name))]
        self.ids += [value for name in ("id",) if (value := given.get(name))]
        if tag not in ("meta", "link", "input", "br", "col"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.bad.append(f"closed: {tag}")


@pytest.mark.parametrize("path", ["/login", "/nowhere", *PAGES, "/rollouts/2"])
def test_no_page_has_anything_inline(api: Api, ask: Client, held: int, path: str) -> None:
    answer = ask("GET", path, {**({} if path == "/login" else session(api, ask, "admin")), **HTML})
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert {"form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"} <= set(policy.split("; "))
    assert answer.headers["referrer-policy"] == "same-origin", "else a form would not say where it comes from"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    seen = Seen(answer.text)
    assert seen.bad == []
    assert {"header", "nav", "main", "h1"} <= set(seen.tags)
    assert all(link.startswith(("/", "#")) for link in seen.links), seen.links
    assert "<b>VAT" not in answer.text
    loaded = [link.removeprefix("/assets/") for link in seen.links if link.startswith("/assets/")]
    assert set(loaded) == set(FILES) - {"idiomorph.js"}


def test_what_a_page_shows(api: Api, ask: Client, held: int) -> None:
    mine = session(api, ask, "admin")
    home, service, rollout = (ask("GET", path, mine).text for path in ("/", "/services/shop", f"/rollouts/{held}"))
    for part in ("<b>10% on r2 (2.0)</b>, the rest on r1 (1.0)", f'href="/rollouts/{held}"', 'href="/services/shop"'):
        assert part in home, part
    assert "<title>10% on r2 (2.0) · shop · deploy</title>" in service
    assert "<title>r2 (2.0) is paused at 10% · shop rollout 2 · deploy</title>" in rollout
    for part in (
        "<h1>10% on r2 (2.0)</h1>",
        "The rest is on r1 (1.0).",
        "&lt;b&gt;VAT&lt;/b&gt;",
        "shop-r2-1",
        f"/api/v1/rollouts/{held}/report",
    ):
        assert part in service, part
    last = api.scene.house.store.events.last_id()
    for part in ("r2 (2.0) is paused at 10%", "10% target", "shop-r2-1", f"/rollouts/{held}/events?after={last}"):
        assert part in rollout, part
    operations.promote(api.scene.house, "shop", "looks good")
    assert "looks good" in ask("GET", "/audit", mine).text
    ended = ask("GET", f"/rollouts/{held}", mine).text
    assert "r2 (2.0) is live for everyone" in ended
    assert "data-events" not in ended, "there is nothing more to hear"


def test_a_service_whose_size_follows_its_load_has_a_plot_of_both(api: Api, ask: Client) -> None:
    api.scene.deploy("1.0", manifest={"replicas": 1, "scale": {"min": 1, "max": 4, "concurrency": 10}})
    mine, now = session(api, ask, "viewer"), api.scene.world.clock.now()
    assert "Size and load" not in ask("GET", "/services/shop", mine).text, "nobody has looked yet"
    api.scene.house.store.loads.add("shop", SeenLoads(now // 300 * 300 - 300, 300, 0, 600, 6000, 2700, 14))
    shown = ask("GET", "/services/shop", mine).text
    assert "Size and load" in shown
    assert "2.0 instances; 9.0 requests at once, 14 requests at most" in shown
    for week in (1, 2):
        then = now // 300 * 300 - week * 7 * 86_400
        api.scene.house.store.loads.add("shop", SeenLoads(then, 300, 0, 600, 6000, 15 * 300, 20))
    shown = ask("GET", "/services/shop", mine).text
    assert re.search("15 requests at once on Tuesdays at 22:1. UTC, so at least 3 instances", shown)


def test_who_sleeps_is_seen_at_a_glance(api: Api, ask: Client) -> None:
    api.scene.deploy("1.0", manifest={"replicas": 1, "scale": {"min": 0, "max": 4, "concurrency": 10}})
    mine = session(api, ask, "viewer")
    assert "asleep" not in ask("GET", "/", mine).text
    assert adjust.fall_asleep(api.scene.house, "shop", "nobody came") is not None
    assert re.search("asleep since <time.*, wakes with the next request", ask("GET", "/", mine).text)
    assert "asleep since" in ask("GET", "/services/shop", mine).text


def test_a_service_shows_when_its_jobs_run_and_how_their_last_runs_ended(api: Api, ask: Client) -> None:
    api.scene.deploy("1.0", manifest={"schedule": {"nightly": {"cron": "10 3 * * *", "command": ["<nightly>"]}}})
    clock = api.scene.world.clock
    clock.sleep((3600 - clock.now()) % 86_400)  # 01:00
    mine = session(api, ask, "viewer")
    shown = ask("GET", "/services/shop", mine).text
    assert '<h2 id="jobs-title">Jobs</h2>' in shown
    row = r"10 3 \* \* \*<small> UTC</small>.*data-until=\"[0-9.]+\">2 h 10 min<.*none yet"
    assert re.search(row, shown, re.DOTALL)
    api.scene.world.jobs.codes["nightly"] = 3
    with pytest.raises(StepFailed):
        run_now(api.scene.house, "shop", "nightly", "")
    shown = ask("GET", "/services/shop", mine).text
    assert re.search(r'<span class="chip bad">failed</span>exit code 3, <time', shown)
    api.scene.deploy("2.0", manifest={"schedule": {}})
    assert "Jobs" not in ask("GET", "/services/shop", mine).text


def test_the_verdict_of_a_canary_has_the_numbers_of_the_table(
    api: Api, ask: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While somebody watches, the sentence and the table are those of one look."""
    mine, pages = session(api, ask), list[str]()
    api.scene.deploy("1.0")

    def watch(event: Event) -> None:
        if event.kind == "sample" and event.data["candidate"]["requests"] and len(pages) < 2:
            monkeypatch.setattr(ServerContext, "sample", lambda *_: event)
            pages.append(ask("GET", f"/rollouts/{event.rollout}", mine).text)

    api.scene.house.sink = watch
    api.scene.deploy("2.0", "canary", options={"percent": 10})
    assert len(pages) == 2
    for page in pages:
        sides = page.partition('id="sides"')[2].partition("</section>")[0]
        (count,) = re.findall(r'candidate</td><td class="n">([\d,]+)', sides)
        (verdict,) = re.findall(r"<dt>verdict</dt><dd>(.*?)</dd>", page)
        assert f"of {count})" in verdict, verdict
        assert "<h1>10% on r2 (2.0)</h1>" in page


def test_the_last_lines_hide_secrets(api: Api, ask: Client, held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = SecretText("hunter2hunter2")
    monkeypatch.setattr(MemoryRuntime, "logs", lambda *_: ("<i>up</i>", f"token {secret.reveal()}"))
    text = ask("GET", "/services/shop/logs", session(api, ask)).text
    assert "&lt;i&gt;up&lt;/i&gt;" in text
    assert "hunter2" not in text
    assert text.count("<pre") == len(api.scene.world.instances)
    assert "/logs" not in ask("GET", "/services/shop", session(api, ask, "viewer")).text


def test_a_report_is_made_again_when_something_happened(api: Api, held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made, clock = [], api.scene.world.clock

    def slowly(house: AppContext, told: RolloutView) -> ReportView:
        clock.sleep(2)
        made.append(len(told.events))
        return gather(house, told)

    monkeypatch.setattr(reports, "gather", slowly)
    with api.desk.house() as house:
        told = queries.show(house, held)
        first = api.desk.reports.of(house, told)
        assert api.desk.reports.of(house, told) is first
        clock.sleep(2 / reports.PART - 1)
        assert api.desk.reports.of(house, told) is first
        clock.sleep(1)
        assert api.desk.reports.of(house, told) is not first, "a tenth of the time"
        operations.promote(api.scene.house, "shop")
        api.desk.reports.of(house, queries.show(house, held))
    assert made == [len(told.events), len(told.events), len(api.scene.house.store.events.of(held))]


def test_what_there_is_not_is_a_page_too(api: Api, ask: Client, held: int) -> None:
    mine = {**session(api, ask), **HTML}
    for path in ("/rollouts/99", "/services/blog", "/nothing"):
        answer = ask("GET", path, mine)
        assert answer.status_code == 404
        assert answer.headers["content-type"].startswith("text/html")
    assert ask("GET", f"{V1}/rollouts/99", mine).json()["exit"] == 2, "the API answers as ever"


@pytest.mark.parametrize("name", FILES)
def test_assets(ask: Client, name: str) -> None:
    answer = ask("GET", f"/assets/{name}")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(FILES[name][2])
    assert answer.headers["cache-control"] == "no-cache"
    again = ask("GET", f"/assets/{name}", {"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert "http" not in re.sub(r"http://www\.w3\.org/\S+|//.*|/\*.*?\*/", "", answer.text, flags=re.DOTALL)


def test_other_assets_are_not_there(ask: Client) -> None:
    for name in ("x.js", "..%2frollout.py", "idiomorph.LICENSE"):
        assert ask("GET", f"/assets/{name}").status_code == 404


def test_a_service_that_is_begun_by_the_api_is_seen(api: Api, ask: Client) -> None:
    mine = session(api, ask)
    assert "No service is here" in ask("GET", "/", mine).text
    ask("POST", f"{V1}/services/shop/rollouts", mine, json={"version": "1.0"})
    ask("POST", f"{V1}/services/shop/rollouts", mine, json=HELD)
    assert "paused" in ask("GET", "/", mine).text


# -- approvals


def test_who_is_asked_has_buttons_and_who_is_not_sees_for_whom_it_waits(api: Api, ask: Client) -> None:
    def dies(event: Event) -> None:
        if event.kind == "approval.asked":
            raise Crash("killed")

    api.scene.deploy("1.0")
    api.scene.house.sink = dies
    with pytest.raises(Crash):
        api.scene.deploy("2.0", "canary", manifest={"approve": {"by": ["ann"], "role": "admin", "within": "1h"}})
    api.scene.house.sink = api.scene.events.append
    text = ask("GET", "/rollouts/2", session(api, ask)).text
    assert "for the approval of ann or an admin, 0 of 1" in text
    for button in ("do-approve", "do-refuse", "do-promote", "do-force"):
        assert f'id="{button}"' not in text
    text = ask("GET", "/rollouts/2", session(api, ask, "admin")).text
    assert 'id="do-approve"' in text
    assert 'id="do-refuse"' in text
    assert 'id="do-force"' in text
    assert 'id="do-promote"' not in text
    refusal = text[text.index('<dialog id="ask-refuse"') :].partition("</dialog>")[0]
    assert 'data-post="/api/v1/services/shop/approve"' in refusal
    assert " required" in refusal
    consent = text[text.index('<dialog id="ask-approve"') :].partition("</dialog>")[0]
    assert "No further approval is needed; it continues:" in consent
