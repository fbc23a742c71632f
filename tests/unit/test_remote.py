"""`deploy --server`: the commands as clients of the real API, over HTTP, on a world in memory."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from deployer import start
from deployer.app import queries
from deployer.app.cost import cost
from deployer.app.operations import AppContext
from deployer.app.operations.execution import locked
from deployer.app.status import status_of
from deployer.app.wiring import open_house
from deployer.cli import main
from deployer.cli.lazy import COMMANDS, group
from deployer.cli.strategies import builtin_commands
from deployer.client import orders, stream
from deployer.client.address import DeployServer
from deployer.core.errors import Exit
from deployer.core.events import Event
from deployer.planning.orders import StopRequest
from deployer.server.tokens import Role
from deployer.views.cost_data import CostsView
from deployer.views.progress import RolloutState, RunAnswer
from tests.api import Api
from tests.live.certificates import certificate
from tests.memory import FakeClock
from tests.ports import free_port
from tests.served import Asked, Wrap, cutting, losing, served, serving

HELD = ("canary", "--service", "shop", "--version", "2.0", "--percent", "10", "--hold")


@dataclass
class Told:
    """What a command wrote, and its exit code."""

    code: int
    out: str
    err: str

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


Deploy = Callable[..., Told]


@pytest.fixture
def api(state: Path) -> Iterator[Api]:
    made = Api(state)
    yield made
    made.close()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder to call commands in, with nothing in the environment that names a server."""
    for name in ("DEPLOYER_SERVER", "DEPLOYER_TOKEN", "DEPLOYER_TOKEN_FILE", "GITHUB_ACTIONS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEPLOYER_STATE", str(tmp_path / "never"))
    monkeypatch.setattr(stream, "PAUSE", 0.05)
    return tmp_path


@pytest.fixture
def run(here: Path, capsys: pytest.CaptureFixture[str]) -> Deploy:
    def deploy(*arguments: str) -> Told:
        capsys.readouterr()
        code = main(arguments)
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        assert not (here / "never").exists(), "nothing is done in the state folder of this host"
        return Told(code, out, err)

    return deploy


@contextmanager
def server(api: Api, monkeypatch: pytest.MonkeyPatch, role: Role = "admin", wrap: Wrap | None = None) -> Iterator[str]:
    monkeypatch.setenv("DEPLOYER_TOKEN", api.token(role)["Authorization"].removeprefix("Bearer "))
    with served(api, wrap=wrap or (lambda app: app)) as url:
        monkeypatch.setenv("DEPLOYER_SERVER", url)
        yield url


# -- which commands


ARGUMENTS = {
    "show": ("1",),
    "report": ("1", "--format", "md"),
    "down": ("-y", "-m", "the end"),
    "release-lock": ("-m", "it hangs"),
    "completion": ("bash",),
    "judge": ("file",),
    "gitops": ("https://example.com/repository.git",),
    "run": ("nightly",),
    "evict": ("-m", "we need it"),
    "migrate": ("status",),
    "release": ("status",),
}
INNER = {
    name: command
    for name in COMMANDS
    if isinstance(command := group().get_command(click.Context(group()), name), click.Group)
}


@pytest.mark.parametrize("name", [*COMMANDS, *builtin_commands()])
def test_every_command_is_served_or_refused_by_name(
    api: Api, run: Deploy, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    asked = Asked()
    api.scene.deploy("1.0")
    with server(api, monkeypatch, wrap=asked):
        told = run(name, *ARGUMENTS.get(name, () if name in COMMANDS else ("--service", "shop")))
    if name not in COMMANDS or COMMANDS[name].served:
        assert asked.requests, told
        assert "works on the host" not in told.err
        return
    assert (told.code, told.out, asked.requests) == (Exit.REFUSED, "", [])
    assert told.err.startswith(f"error: deploy {name} works on the host where it is called")
    assert "unset DEPLOYER_SERVER" in told.err


@pytest.mark.parametrize("name", ["verify", "export"])
def test_parts_of_a_served_command_that_are_not_are_refused(
    api: Api, run: Deploy, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    served = {name for name in INNER if COMMANDS[name].served}
    assert served == {"audit", "migrate", "release"}, "all of two of them is served; see to the others here"
    asked = Asked()
    with server(api, monkeypatch, wrap=asked):
        told = run("audit", name)
    assert (told.code, asked.requests) == (Exit.REFUSED, [])
    assert f"deploy audit {name} works on the host" in told.err


# -- looking


def costs(house: AppContext) -> CostsView:
    """Return what the services cost in the month of the tests, so far by the clock of the command."""
    began, ended = (time.mktime((2023, month, 1, 0, 0, 0, 0, 0, -1)) for month in (11, 12))
    return CostsView(began, ended, (cost(house, "shop", began, ended),))


def test_what_is_printed_is_what_is_printed_at_home(api: Api, run: Deploy, monkeypatch: pytest.MonkeyPatch) -> None:
    api.scene.deploy("1.0")
    api.scene.deploy("2.0", "canary", options={"percent": 10, "hold": True})
    with server(api, monkeypatch), api.desk.house() as house:
        for command, view in (
            (("status",), status_of(house, "shop")),
            (("status", "--all"), status_of(house, "shop")),
            (("history",), queries.history(house, "shop")),
            (("history", "--limit", "1"), queries.history(house, "shop", 1)),
            (("history", "--releases"), queries.releases(house, "shop")),
            (("releases", "--service", "shop"), queries.releases(house, "shop")),
            (("cost", "--month", "2023-11"), costs(house)),
            (("show",), queries.show(house, 2)),
            (("show", "1"), queries.show(house, 1)),
            (("audit",), queries.audit(house)),
            (("audit", "--service", "shop", "--limit", "2"), queries.audit(house, 2, "shop")),
        ):
            told = run(*command, "--output", "json")
            assert (told.code, told.err) == (0, ""), command
            assert json.loads(told.out) == json.loads(json.dumps(view.to_dict(), default=str)), command
        assert "r1 (1.0) is stable, r2 (2.0) gets 10%" in run("status").out
        assert (
            run("logs", "--colour", "blue").out
            == "shop-r1-1 | last words of shop-r1-1\nshop-r1-2 | last words of shop-r1-2\n"
        )
        assert run("logs", "--colour", "baseline").code == Exit.REFUSED


def test_a_report_is_written_here(api: Api, run: Deploy, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api.scene.deploy("1.0")
    with server(api, monkeypatch):
        assert run("report", "-o", "report.html").out == "wrote report.html\n"
        assert "<!doctype html>" in (here / "report.html").read_text().lower()
        assert json.loads(run("report", "1", "--format", "json").out)["rollout"]["number"] == 1
        assert run("report", "7", "--format", "md").code == Exit.REFUSED
        monkeypatch.setattr("deployer.app.reports.gather.gather", lambda *_: 1 / 0)
        told = run("report", "--format", "md")
        assert (told.code, "failed: 500" in told.err) == (Exit.INTERNAL, True)


def test_there_is_nothing_yet(api: Api, run: Deploy, monkeypatch: pytest.MonkeyPatch) -> None:
    with server(api, monkeypatch):
        told = run("status")
        assert (told.code, "has no service that the token may see" in told.err) == (2, True)
        told = run("status", "--service", "shop")
        assert (told.code, told.err.splitlines()[0]) == (2, "error: shop was never deployed")
        assert run("watch", "--service", "shop").code == Exit.REFUSED


# -- orders


def test_a_canary_is_followed_to_its_end(api: Api, run: Deploy, monkeypatch: pytest.MonkeyPatch) -> None:
    with server(api, monkeypatch, "operator") as url:
        assert run("up", "--service", "shop", "--version", "1.0").out == "r1 (1.0) is live\n"
        monkeypatch.delenv("DEPLOYER_SERVER")
        order = ("canary", "--service", "shop", "--version", "2.0", "-m", "why", "--output", "json")
        told = run("--server", f"{url}/api/v1/", *order)
        assert told.code == 0
        assert [e["event"] for e in told.events() if e["event"] != "sample"] == [
            event.kind for event in api.scene.house.store.events.of(2)
        ]
        told = run("--server", url, "canary", "--service", "shop", "--version", "2.0")
        assert (told.code, told.out) == (0, "2.0 is live already (r2 (2.0)): nothing to do\n")
        (note,) = run("--server", url, "up", "--service", "shop", "--version", "2.0", "--output", "json").events()
        assert (note["event"], note["text"]) == ("note", "2.0 is live already (r2 (2.0)): nothing to do")
    assert api.scene.house.store.rollouts.get(2).message == "why"
    assert api.runner.orders[1].options == {}
    run_of_it = list(api.runner.runs.values())[1]
    assert run_of_it.origin.startswith("API, from 127.0.0.1, token ")


@pytest.mark.parametrize(
    "command", [("down", "-y", "-m", "the end"), ("rollback", "-m", "slow"), ("up", "--version", "2.0")]
)
def test_nothing_is_printed_among_lines_of_json(
    api: Api, run: Deploy, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    api.scene.deploy("1.0")
    api.scene.deploy("2.0")
    with server(api, monkeypatch):
        told = run(*command, "--service", "shop", "--output", "json")
    assert told.code == 0
    assert all(json.loads(line)["event"] for line in told.out.splitlines())


def test_exit_codes_are_those_of_home(api: Api, run: Deploy, monkeypatch: pytest.MonkeyPatch) -> None:
    with server(api, monkeypatch):
        run("up", "--service", "shop", "--version", "1.0")
        api.scene.world.worse = {"2.0"}
        worse = run("canary", "--service", "shop", "--version", "2.0")
        assert (worse.code, "worse" in worse.out) == (Exit.VERDICT, True)
        held = run("canary", "--service", "shop", "--version", "3.0", "--percent", "10", "--hold")
        assert (held.code, "`deploy promote`" in held.out) == (Exit.DONE, True)
        again = run("canary", "--service", "shop", "--version", "4.0")
        assert (again.code, "rollout 3 of shop" in again.err) == (Exit.LOCKED, True)
        watched = run("watch")
        assert (watched.code, watched.out) == (held.code, held.out)
        assert run("abort", "-m", "no").code == 0
        assert run("rollback").code == 0, "everyone was brought back a moment ago"
        assert run("rollback", "--again").code == Exit.REFUSED
        assert run("canary", "--service", "shop", "--precent", "3").code == Exit.REFUSED
        bad = run("canary", "--service", "shop", "--percent", "101")
        assert (bad.code, "the options of strategy canary were refused" in bad.err) == (Exit.REFUSED, True)
        with locked(api.scene.house, "shop", "something else"):
            assert run("rollback", "--to", "1").code == Exit.LOCKED
        planned = run("plan", "canary", "--service", "shop", "--version", "5.0", "--percent", "7", "--check")
        assert (planned.code, "7% of the traffic" in planned.out) == (Exit.CHANGES, True)
        same = run("plan", "--service", "shop", "--version", "1.0", "--check")
        assert (same.code, same.out, same.err) == (0, "", "1.0 is live already: nothing to deploy\n")


def test_a_rollout_is_paused_promoted_and_left(api: Api, run: Deploy, monkeypatch: pytest.MonkeyPatch) -> None:
    with server(api, monkeypatch):
        run("up", "--service", "shop", "--version", "1.0")
        assert run(*HELD).code == 0
        told = run("promote", "-m", "good", "--report", "reports")
        assert (told.code, told.out) == (0, "r2 (2.0) is live\n")
        assert sorted(p.name for p in Path("reports").iterdir()) == [
            "junit.xml",
            "outputs.env",
            "report.html",
            "report.json",
            "summary.md",
        ]
        assert "DEPLOYER_ROLLOUT=2\n" in Path("reports/outputs.env").read_text()
        assert run("rollback", "-m", "slow").out == "r1 (1.0) is live\n"
        assert run("rollback", "--to", "2", "--force").out == "r2 (2.0) is live\n"
        told = run("down", "-y")
        assert (told.code, "only with a reason" in told.err) == (2, True)
        told = run("down", "-y", "-m", "the end")
        assert told.out == "shop is down; removed: shop-r1-1, shop-r1-2, shop-r2-1, shop-r2-2\n"


def test_what_was_refused_is_reported(api: Api, run: Deploy, monkeypatch: pytest.MonkeyPatch) -> None:
    with server(api, monkeypatch):
        assert run("canary", "--service", "shop", "--percent", "101", "--report", "reports").code == 2
    assert "DEPLOYER_OUTCOME=refused" in Path("reports/outputs.env").read_text()


# -- manifests


def test_a_manifest_here_must_be_the_one_there(
    api: Api, run: Deploy, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(api.manifest, here / "deploy.yml")
    with server(api, monkeypatch):
        assert run("up", "--version", "1.0").out == "r1 (1.0) is live\n"
        (here / "deploy.yml").write_text(api.manifest.read_text() + "# changed\n")
        told = run("up", "--version", "2.0")
        assert (told.code, "differs from yours" in told.err) == (Exit.REFUSED, True)
        assert run("plan", "--version", "2.0", "-f", "deploy.yml").code == Exit.REFUSED
        assert run("up", "--version", "2.0", "--service", "shop").out == "r2 (2.0) is live\n"
        assert run("up", "--service", "shop", "-f", "deploy.yml").code == Exit.REFUSED
        assert run("up", "--service", "shop", "-f", "nothing.yml").code == Exit.REFUSED
        assert run("status", "-f", "deploy.yml").code == 0
        told = run("up", "--service", "blog")
        assert (told.code, "this server has no manifest of blog" in told.err) == (Exit.REFUSED, True)


# -- who may, and what does not respond


def test_a_right_that_is_missing_is_named(api: Api, run: Deploy, monkeypatch: pytest.MonkeyPatch) -> None:
    api.scene.deploy("1.0")
    with server(api, monkeypatch, "viewer") as url:
        assert run("status").code == 0
        for command in (
            ("rollback",),
            ("up", "--service", "shop", "--version", "2.0"),
            ("logs",),
            ("plan", "--service", "shop"),
        ):
            told = run(*command)
            assert (told.code, told.out) == (Exit.REFUSED, "")
            assert told.err.startswith(f"error: {url}: the token viewer-")
            assert "this needs operator" in told.err
    assert api.runner.orders == []


def test_tokens_come_from_files_and_are_never_shown(
    api: Api, run: Deploy, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.scene.deploy("1.0")
    with server(api, monkeypatch) as url:
        token = os.environ["DEPLOYER_TOKEN"]
        (here / "token").write_text(f"{token}\n")
        monkeypatch.setenv("DEPLOYER_TOKEN", "wrong-token-of-somebody")
        told = run("status")
        assert (told.code, f"{url} does not know the token" in told.err) == (Exit.REFUSED, True)
        assert "wrong-token" not in told.err
        assert run("--token-file", "token", "status").code == 0
        monkeypatch.delenv("DEPLOYER_TOKEN")
        assert f"there is no token for {url}" in run("status").err
        monkeypatch.setenv("DEPLOYER_TOKEN_FILE", str(here / "token"))
        assert run("status").code == 0
        (here / "token").write_text("two\nlines\n")
        assert "is not a token" in run("status").err
        assert "cannot be read" in run("--token-file", "nowhere", "status").err
        shutil.copy(api.manifest, here / "netrc")
        (here / "netrc").write_text("machine 127.0.0.1 login a password b\n")
        (here / "netrc").chmod(0o600)
        monkeypatch.setenv("NETRC", str(here / "netrc"))
        (here / "token").write_text(token)
        assert run("status").code == 0


def test_nobody_answers(run: Deploy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPLOYER_TOKEN", "token")
    monkeypatch.setattr("deployer.client.calls.Calls.get.__defaults__", (None, 0.3))
    monkeypatch.setattr(stream, "FIRST", 0.3)
    url = f"http://127.0.0.1:{free_port()}"
    for command in (("status",), ("up", "--service", "shop")):
        told = run("--server", url, *command)
        assert told.code == Exit.REFUSED
        assert told.err == (
            f"error: {url} cannot be reached: connection refused\n"
            "  → is `deploy serve` running there, and is the address right?\n"
        )


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("deploy.example.com", "is not an address of a server"),
        ("ftp://deploy.example.com", "is not an address of a server"),
        ("https://ann:secret@deploy.example.com", "is not an address of a server"),
        ("https://deploy.example.com/?a=b", "is not an address of a server"),
        ("https://[::1", "is not an address of a server"),
        ("http://deploy.example.com:8642", "would send the token in the clear"),
    ],
)
def test_addresses_that_are_refused(run: Deploy, monkeypatch: pytest.MonkeyPatch, url: str, told: str) -> None:
    monkeypatch.setenv("DEPLOYER_TOKEN", "token")
    found = run("--server", url, "status")
    assert (found.code, told in found.err) == (Exit.REFUSED, True)
    assert "secret" not in found.err


def test_addresses_are_read_as_people_write_them() -> None:
    for text in ("https://deploy.example.com", "https://deploy.example.com/", "https://deploy.example.com/api/v1/"):
        assert DeployServer.of(text, "--server").url == "https://deploy.example.com"
    assert DeployServer.of("http://[::1]:8642", "--server").url == "http://[::1]:8642"


def test_options_that_go_with_a_server_only(run: Deploy, here: Path) -> None:
    assert "--token-file goes with --server" in run("--token-file", "x", "status").err
    assert "--ca goes with --server" in run("--ca", "x", "status").err
    told = run("--server", "http://localhost:1", "status", "--state", str(here / "state"))
    assert (told.code, "--state names a folder of this host" in told.err) == (2, True)


def test_a_certificate_is_checked(api: Api, run: Deploy, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api.scene.deploy("1.0")
    pem = certificate(here / "tls.pem", "localhost")
    monkeypatch.setenv("DEPLOYER_TOKEN", api.token()["Authorization"].removeprefix("Bearer "))
    with served(api, pem=pem) as url:
        told = run("--server", url, "status")
        assert (told.code, "its certificate was not accepted" in told.err) == (Exit.REFUSED, True)
        assert "--ca FILE" in told.err
        assert run("--server", url, "--ca", str(pem), "status").code == 0
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pem))
        assert run("--server", url, "status").code == 0
        assert run("--server", url, "up", "--service", "shop", "--version", "2.0").code == 0
        assert "is not a file with certificates" in run("--server", url, "--ca", "nowhere", "status").err


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (HTMLResponse("<h1>Welcome</h1>"), "does not respond as a deployer's API v1: 200, text/html"),
        (HTMLResponse("nothing", 404), "does not respond as a deployer's API v1: 404, text/html"),
        (
            RedirectResponse("https://elsewhere.example.com/"),
            "redirects to another address: 'https://elsewhere.example.com/'",
        ),
        (JSONResponse({"services": [{"name": "shop"}]}), "does not understand: ServicesAnswer, services.0.service"),
        (
            JSONResponse({"message": "Not Found: GET /x", "hint": ""}, 404, {"x-deployer-version": "9.9"}),
            "→ the server is deployer 9.9, this one is ",
        ),
    ],
)
def test_what_is_no_server_of_ours_is_said_so(
    run: Deploy, monkeypatch: pytest.MonkeyPatch, answer: HTMLResponse, told: str
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(scope, receive, send)

    monkeypatch.setenv("DEPLOYER_TOKEN", "token")
    with serving(app, free_port()) as url:
        found = run("--server", url, "status")
    assert (found.code, found.out) == (Exit.REFUSED, "")
    assert told in found.err


# -- connections that break


def test_an_order_whose_answer_is_lost_is_given_once(api: Api, run: Deploy, monkeypatch: pytest.MonkeyPatch) -> None:
    with server(api, monkeypatch, wrap=losing(2)):
        assert run("up", "--service", "shop", "--version", "1.0").code == 0
    assert len(api.runner.orders) == 1


def test_an_order_that_may_have_been_taken_is_told_so(api: Api, run: Deploy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployer.client.calls.Calls.post.__defaults__", (0.3,))
    with server(api, monkeypatch, wrap=losing(100)):
        told = run("up", "--service", "shop", "--version", "1.0")
    assert told.code == Exit.NEEDS_PERSON
    assert "whether the order was taken is not known" in told.err


def test_reads_are_repeated(api: Api, run: Deploy, monkeypatch: pytest.MonkeyPatch) -> None:
    api.scene.deploy("1.0")
    with server(api, monkeypatch, wrap=losing(2, "GET")):
        assert run("status").code == 0


def test_events_come_once_over_broken_connections(api: Api, run: Deploy, monkeypatch: pytest.MonkeyPatch) -> None:
    api.scene.deploy("1.0")
    asked = Asked()
    with server(api, monkeypatch, wrap=lambda app: asked(cutting(3, 4)(app))):
        told = run("canary", "--service", "shop", "--version", "2.0", "--output", "json")
        assert told.code == 0
    kinds = [(e["event"], e.get("n"), e["at"]) for e in told.events() if e["event"] not in ("sample", "note")]
    assert kinds == [(e.kind, e.data.get("n"), round(e.at, 3)) for e in api.scene.house.store.events.of(2)]
    assert len(asked.after) >= 5, "each break is followed by a connection"
    assert asked.after[0] == ""
    assert int(asked.after[1]) >= 1, "it knows where it began"
    assert [int(after) for after in asked.after[1:]] == sorted(int(after) for after in asked.after[1:])


def test_a_watch_tells_the_past_to_the_page_only(api: Api, run: Deploy, monkeypatch: pytest.MonkeyPatch) -> None:
    api.scene.deploy("1.0")
    api.scene.deploy("2.0", "canary", options={"percent": 10, "hold": True})
    with server(api, monkeypatch):
        told = run("watch", "--output", "json")
    assert (told.code, told.out) == (0, "")


def test_a_rollout_that_nobody_drives_is_told_so(api: Api, run: Deploy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "GRACE_SECONDS", 0.2)
    api.scene.deploy("1.0")
    left_behind(api)
    with server(api, monkeypatch):
        told = run("watch")
    assert told.code == Exit.INTERNAL
    assert "the process that ran rollout 2 is gone" in told.err


def left_behind(api: Api) -> None:
    """Leave a rollout as a process that was killed does."""
    api.scene.deploy("2.0", "canary", options={"percent": 10, "hold": True})
    with api.scene.house.store.database.transaction() as cursor:
        cursor.execute("update rollouts set outcome = '' where number = 2")


def test_a_report_that_cannot_be_had_changes_no_ending(api: Api, run: Deploy, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(app: ASGIApp) -> ASGIApp:
        async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"].endswith("/report"):
                await HTMLResponse("gone", 502)(scope, receive, send)
                return
            await app(scope, receive, send)

        return nothing

    monkeypatch.setattr("deployer.client.calls.Calls.get.__defaults__", (None, 0.3))
    with server(api, monkeypatch, wrap=gone):
        told = run("up", "--service", "shop", "--version", "1.0", "--report", "reports")
    assert (told.code, told.out) == (0, "r1 (1.0) is live\n")
    assert "the report could not be written" in told.err


# -- signals


@pytest.mark.parametrize("on_cancel", [None, "detach", "abort"])
def test_what_a_signal_does(api: Api, run: Deploy, monkeypatch: pytest.MonkeyPatch, on_cancel: str | None) -> None:
    api.scene.deploy("1.0")
    number = api.scene.deploy("2.0", "canary", options={"percent": 10, "hold": True}).rollout
    begun = type(api.runner).start

    def slowly(order: Any, by: str, origin: str, name: str = "") -> Any:
        if order.action == "abort":
            aborted = begun(api.runner, order, by, origin, name)
            for each in list(api.runner.runs.values()):
                if not each.ended_at:
                    ended = {"ended_at": 1.0, "exit": 6, "outcome": "reverted", "text": "aborted"}
                    api.runner.runs[each.id] = replace(each, **ended)  # type: ignore[arg-type]
            return aborted
        api.runner.slow = True
        made = begun(api.runner, order, by, origin, name)
        api.runner.slow = False
        api.runner.runs[made.id] = replace(made, rollout=number)
        return made

    def followed(app: ASGIApp) -> ASGIApp:
        signalled = threading.Event()

        async def signals(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"].endswith("/events") and not signalled.is_set():
                signalled.set()
                os.kill(os.getpid(), signal.SIGINT)
            await app(scope, receive, send)

        return signals

    monkeypatch.setattr(api.runner, "start", slowly)
    with server(api, monkeypatch, wrap=followed) as url:
        told = run("promote", *(("--on-cancel", on_cancel) if on_cancel else ()))
    assert told.code == Exit.ABORTED
    if on_cancel == "abort":
        assert [order.action for order in api.runner.orders] == ["promote", "abort"]
        assert told.out == "aborted\n"
    else:
        assert [order.action for order in api.runner.orders] == ["promote"]
        assert f"error: no longer following; rollout {number} of shop goes on at {url}\n" in told.err
        assert f"`deploy --server {url} abort` rolls it back" in told.err


def test_an_emergency_at_this_proxy_is_not_meant(monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    monkeypatch.setattr("deployer.emergency.first", lambda _arguments: pytest.fail("it moved users of this host"))
    monkeypatch.setattr(sys, "argv", ["deploy", "rollback", "--service", "shop"])
    monkeypatch.setenv("DEPLOYER_SERVER", "nonsense")
    assert start.main() == Exit.REFUSED


# -- at home


def test_at_home_the_manifest_must_be_about_the_service_that_is_named(api: Api, run: Deploy, here: Path) -> None:
    shutil.copy(api.manifest, here / "deploy.yml")
    told = run("up", "--service", "blog", "--version", "1.0")
    assert (told.code, "deploy.yml is for shop, not for blog" in told.err) == (Exit.REFUSED, True)
    assert run("up", "--version", "").code == Exit.REFUSED, "a variable of the pipeline that is not set"


@pytest.mark.parametrize("command", [("status", "--all"), ("rollback", "--service", "shop")])
def test_commands_at_home_import_nothing_of_it(state: Path, command: tuple[str, ...]) -> None:
    with open_house(state):
        pass
    code = (
        "import sys; from deployer.cli import main; main(sys.argv[1:]);"
        "print('LOADED', sorted(n for n in sys.modules if n in ('requests', 'urllib3', 'fastapi', 'http.client')"
        " or n.startswith(('deployer.client', 'deployer.server'))"
        " or (n == 'deployer.app.queries' and sys.argv[1] == 'rollback')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command, "--state", str(state)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_no_sample_is_shown_of_a_rollout_that_has_ended() -> None:
    """Samples come from a file and not from the log of events: one may come late."""

    def told(kind: str, rollout: int, number: int) -> Event:
        return Event(kind, 0.0, "shop", rollout, {}, id=number)

    clock = FakeClock()

    class Heard:
        coming = (
            *(told("rollout.ended", 6, 1), told("sample", 7, 0), told("rollout.ended", 7, 2)),
            *(told("sample", 7, 0), told("note", 7, 3)),
        )
        last, left = 0, iter(coming)

        def take(self, seconds: float) -> Event | None:
            clock.sleep(seconds)
            event = next(self.left, None)
            self.last = event.id if event and event.id else self.last
            return event

    class Client:
        calls = SimpleNamespace(clock=clock)

        def run(self, run: RunAnswer, patience: float) -> RunAnswer:
            return replace(run, ended=heard.last == 3)

        def state(self, rollout: int, patience: float) -> RolloutState:
            return RolloutState("shop", rollout, "done", 0, "", running=False, last_event=3)

    heard, shown = Heard(), list[Event]()
    run = RunAnswer("1", "shop", "start", "ann", 0.0, False, 0.0, rollout=7, exit=None, outcome="", text="", hint="")
    asked: Any = SimpleNamespace(client=Client())
    given = orders._Given(asked, run, heard, shown.append, StopRequest())  # type: ignore[arg-type]
    given.to_its_end()
    assert [(event.kind, event.rollout) for event in shown] == [
        ("rollout.ended", 6),
        ("sample", 7),
        ("rollout.ended", 7),
        ("note", 7),
    ]
