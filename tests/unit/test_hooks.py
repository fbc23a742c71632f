"""Webhooks of forges: what is believed, what is not, and what comes of it: real Git, a world in memory."""

from __future__ import annotations

import hashlib
import hmac
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployer.core.clock import SystemClock
from deployer.core.errors import Refused
from deployer.core.secret import SecretText
from deployer.core.web import SIGNATURE, TIMESTAMP, signature
from deployer.server import webhooks
from deployer.server.agents import REFUSED_SECONDS, Agents, _ServedAgent
from deployer.server.gitops_config import Follows, read
from deployer.server.guard import RequestLimits
from deployer.server.webhooks import WINDOW_SECONDS, Hook
from tests.api import Api
from tests.documents import REPOSITORY, blocks
from tests.memory import FakeClock, PaperPulse
from tests.unit.test_gitops import Origin
from tests.unit.test_server import V1, Client

SECRET = "0123456789abcdef-of-a-test"
BODY = b'{"ref": "refs/heads/main"}'
SECONDS = 20.0


def github(body: bytes, secret: str = SECRET) -> dict[str, str]:
    return {"x-hub-signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}


def generic(body: bytes, at: float, secret: str = SECRET) -> dict[str, str]:
    return {TIMESTAMP.lower(): str(int(at)), SIGNATURE.lower(): signature(secret.encode(), int(at), body)}


# -- what is believed


def test_github_signs_the_body() -> None:
    hook = Hook("github", SecretText(SECRET), FakeClock())
    assert hook.problem(github(BODY), BODY) == ""
    assert hook.problem(github(BODY), BODY) == "", "sent again it is as good: a look changes nothing by itself"
    for headers in (github(BODY + b" "), github(BODY, "another secret"), {"x-hub-signature-256": "sha256=é"}):
        assert hook.problem(headers, BODY) == "X-Hub-Signature-256 is not right"
    assert hook.problem({"x-hub-signature": "sha1=0"}, BODY) == "X-Hub-Signature-256 is not there"


def test_the_signature_of_githubs_own_example() -> None:
    """https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries"""
    signed = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    hook = Hook("github", SecretText("It's a Secret to Everybody"), FakeClock())
    assert hook.problem({"x-hub-signature-256": signed}, b"Hello, World!") == ""


def test_gitlab_sends_the_secret() -> None:
    hook = Hook("gitlab", SecretText(SECRET), FakeClock())
    assert hook.problem({"x-gitlab-token": SECRET}, BODY) == ""
    assert hook.problem({"x-gitlab-token": SECRET[:-1]}, BODY) == "X-Gitlab-Token is not right"
    assert hook.problem(github(BODY), BODY) == "X-Gitlab-Token is not there"


def test_a_generic_one_is_fresh_and_comes_once() -> None:
    clock = FakeClock()
    hook = Hook("generic", SecretText(SECRET), clock)
    now = clock.now()
    sent = generic(BODY, now)
    assert hook.problem(sent, BODY) == ""
    assert hook.problem(sent, BODY) == "it was sent before"
    assert hook.problem(generic(BODY, now - WINDOW_SECONDS - 1), BODY).startswith("it is 301 s away from now")
    assert hook.problem(generic(BODY, now + WINDOW_SECONDS + 1), BODY).startswith("it is 301 s away from now")
    assert hook.problem({**sent, TIMESTAMP.lower(): str(int(now) + 1)}, BODY) == f"{SIGNATURE} is not right"
    for wrong in ("", "now", "-1", "1.5", "１", "9" * 13):
        assert hook.problem({**sent, TIMESTAMP.lower(): wrong}, BODY) == f"{TIMESTAMP} is not there, or no Unix time"
    early = generic(BODY, now + 200)
    assert hook.problem(early, BODY) == ""
    clock.sleep(400)  # its time lies in the window still
    assert hook.problem(early, BODY) == "it was sent before"
    clock.sleep(101)
    assert hook.problem(early, BODY).startswith("it is 301 s away from now")


def test_more_generic_ones_than_it_can_remember_are_refused_by_that_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "_MOST", 2)
    clock = FakeClock()
    hook, now = Hook("generic", SecretText(SECRET), clock), clock.now()
    assert [hook.problem(generic(BODY, now + n), BODY) for n in range(2)] == ["", ""]
    assert hook.problem(generic(BODY, now + 2), BODY).startswith("more than 2 were sent in 600 s")
    clock.sleep(303)
    assert hook.problem(generic(BODY, clock.now()), BODY) == "", "the first ones need not be remembered any more"


# -- the file


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("follow: []", "follow: "),
        ("follow: [{name: shop}]", "follow.0.repository: Field required"),
        ("follow: [{name: shop, repository: /srv/shop.git, webhook: {}}]", "names no Git host, or several"),
        ("follow: [{name: a, repository: /a}, {name: a, repository: /b}]", "a is named twice"),
        ("follow: [{name: shop, repository: /a, evry: 5m}]", "evry: Extra inputs are not permitted"),
        ("follow: [", "is not YAML"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "gitops.yml").write_text(text)
    with pytest.raises(Refused) as error:
        read(tmp_path / "gitops.yml")
    assert said in error.value.message


def test_a_secret_that_is_missing_or_short_is_refused(tmp_path: Path) -> None:
    follows = Follows.model_validate({"follow": [{"name": "a", "repository": "/a", "webhook": {"github": "HOOK"}}]})
    for environ, said in (({}, "is not set"), ({"HOOK": "short"}, "has fewer than 16 characters")):
        with pytest.raises(Refused, match=said):
            Agents(follows, tmp_path, environ, SystemClock(), tmp_path)


# -- the route, and what comes of it


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    made = Origin(tmp_path / "origin")
    made.commit("the first", version="1.0")
    return made


@pytest.fixture
def api(state: Path, origin: Origin) -> Iterator[Api]:
    made = Api(state)
    one: dict[str, Any] = {"repository": str(origin.folder), "every": "1h", "manifests": ["deploy.yml"]}
    follows = [
        {**one, "name": "shop", "webhook": {"github": "HOOK"}},
        {**one, "name": "mute", "branch": "nothing"},
    ]
    environ = {**os.environ, "HOOK": SECRET}
    agents = Agents(Follows.model_validate({"follow": follows}), state / "gitops", environ, SystemClock(), state)
    made.desk.hooks = agents
    yield made
    agents.stop()
    made.close()


def live_of(api: Api) -> str:
    store = api.scene.house.store
    stable = store.services.get("shop").stable
    return store.releases.get("shop", stable).version if stable else ""


def until(api: Api, version: str) -> None:
    for _ in range(int(SECONDS / 0.05)):
        if live_of(api) == version and not api.scene.house.store.rollouts.in_progress("shop"):
            return
        threading.Event().wait(0.05)
    raise AssertionError(f"{live_of(api)!r} is live after {SECONDS} s, not {version}: {api.runner.orders}")


def test_a_push_is_looked_at_when_the_forge_says_so(api: Api, origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployer.engine.walk.LeaseRenewer", PaperPulse)
    ask = Client(api)
    agents = api.desk.hooks
    assert isinstance(agents, Agents)
    agents.start(api.desk)
    until(api, "1.0")
    origin.commit("the second", version="2.0")
    path = f"{V1}/hooks/shop"
    for headers in ({}, github(BODY, "not the secret"), api.token("admin")):
        answer = ask("POST", path, headers, content=BODY)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Signature")
        assert SECRET not in answer.text
    assert live_of(api) == "1.0"
    answer = ask("POST", path, github(BODY), content=BODY)
    assert (answer.status_code, answer.json()) == (202, {"looks": "shop"})
    until(api, "2.0")
    starts = [order for order in api.runner.orders if order.action == "start"]
    assert [order.version or order.reason.split(" ", 1)[1] for order in starts] == ["the first", "the second"]


def test_a_commit_that_its_run_refuses_is_not_tried_at_each_look(api: Api, origin: Origin) -> None:
    origin.commit("no such strategy", strategy="sideways")
    agents = api.desk.hooks
    assert isinstance(agents, Agents)
    agent = _ServedAgent(api.desk, "shop", agents.source("shop", "deploy.yml"), os.environ, threading.Event()).agent
    for _ in range(3):
        agent.look()
    assert [order.strategy for order in api.runner.orders] == ["sideways"]
    assert "there is no strategy 'sideways'" in str(agent.told)
    api.scene.world.clock.sleep(REFUSED_SECONDS + 1)
    agent.look()
    assert len(api.runner.orders) == 2, "what the machine lacked may be there now"
    origin.commit("another", strategy="backwards")
    agent.look()
    assert [order.strategy for order in api.runner.orders][2:] == ["backwards"]


@pytest.mark.parametrize("name", ["mute", "nothing", "shop"])
def test_what_has_no_webhook_answers_as_one_that_is_not_believed(api: Api, name: str) -> None:
    ask = Client(api)
    answer = ask("POST", f"{V1}/hooks/{name}", github(BODY, "wrong"), content=BODY)
    assert answer.status_code == 401
    assert answer.json()["message"] == "this webhook does not prove who sent it"


@pytest.mark.parametrize(("path", "status"), [(f"{V1}/hooks/shop", 401), ("/login", 401)])
def test_who_comes_by_ssh_is_counted_by_nobody(api: Api, path: str, status: int) -> None:
    ask = Client(api)
    ask._transport = httpx.ASGITransport(app=api.routes())  # as `deploy serve --stdio` has them, without a guard
    assert ask("POST", path, content=b"token=x").status_code == status


def test_what_is_refused_is_in_the_log(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    Client(api)("POST", f"{V1}/hooks/shop", github(BODY, "wrong"), content=BODY)
    assert "webhook shop from 127.0.0.1: X-Hub-Signature-256 is not right" in capsys.readouterr().err


def test_a_webhook_has_its_own_size_and_the_rate_of_strangers(api: Api) -> None:
    large = b" " * (RequestLimits().hook + 1)
    assert Client(api)("POST", f"{V1}/hooks/shop", github(large), content=large).status_code == 413
    fits = b" " * RequestLimits().hook
    assert Client(api)("POST", f"{V1}/hooks/shop", github(fits, "wrong"), content=fits).status_code == 401
    api.limits = RequestLimits(stranger_rate=0.001, stranger_burst=2)
    ask = Client(api)
    said = [ask("POST", f"{V1}/hooks/shop", github(BODY, "wrong"), content=BODY).status_code for _ in range(3)]
    assert said == [401, 401, 429]
    assert ask("POST", f"{V1}/hooks/shop", github(BODY), content=BODY).status_code == 202, "a signed one takes nothing"
    assert ask("POST", f"{V1}/hooks/other", github(BODY), content=BODY).status_code == 401, (
        "another hook, another bucket"
    )


# -- the page about it


def test_the_file_of_the_page_is_right(tmp_path: Path) -> None:
    (text,) = (b.text for b in blocks(REPOSITORY / "docs/gitops.md") if b.language == "yml")
    (tmp_path / "gitops.yml").write_text(text)
    shop, blog = read(tmp_path / "gitops.yml").follow
    assert (shop.name, shop.every, blog.drift, blog.destination) == ("shop", 300.0, "tell", "production")
    environ = {"SHOP_HOOK_SECRET": SECRET, "BLOG_HOOK_SECRET": SECRET}
    agents = Agents(read(tmp_path / "gitops.yml"), tmp_path, environ, SystemClock(), tmp_path)
    assert agents.hook("shop") is not None
    assert agents.hook("nothing") is None


def test_what_the_page_sends_is_believed() -> None:
    (script,) = (b.text for b in blocks(REPOSITORY / "docs/gitops.md") if b.language == "sh" and "/hooks/" in b.text)
    sent: list[tuple[str, dict[str, str], bytes]] = []

    class Seen(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            sent.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(202)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Seen) as server:
        thread = threading.Thread(target=server.handle_request, daemon=True)
        thread.start()
        text = script.replace("127.0.0.1:8642", f"127.0.0.1:{server.server_port}")
        subprocess.run(["sh", "-c", text], env={**os.environ, "SHOP_HOOK_SECRET": SECRET}, check=True, timeout=120)
        thread.join(20)
    ((path, headers, body),) = sent
    assert path == f"{V1}/hooks/shop"
    assert Hook("generic", SecretText(SECRET), SystemClock()).problem(headers, body) == ""
