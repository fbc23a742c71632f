"""What the server writes while it works: a line for each request and run, and nothing that is nobody's business."""

from __future__ import annotations

import asyncio
import json
import logging
import logging.config
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployer.core.clock import SystemClock
from deployer.core.secret import SecretText
from deployer.planning.orders import Order
from deployer.server.access_log import of_libraries
from deployer.server.log import ServerLog
from deployer.server.runs import Processes
from deployer.store import Store
from tests.api import HOST, Api
from tests.documents import REPOSITORY, blocks
from tests.server_runs import joined


@pytest.fixture
def api(state: Path) -> Iterator[Api]:
    made = Api(state)
    made.desk.log = ServerLog(made.scene.world.clock, lines=True)
    made.scene.deploy("1.0")
    yield made
    made.close()


def ask(api: Api, method: str, path: str, headers: dict[str, str], **more: Any) -> httpx.Response:
    async def asking() -> httpx.Response:
        transport = httpx.ASGITransport(app=api.app())
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}", timeout=20) as client:
            return await client.request(method, path, headers=headers, **more)

    return asyncio.run(asking())


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_for_each_request_also_for_those_that_were_not_let_in(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    viewer = api.token("viewer")
    answer = ask(api, "GET", "/api/v1/services/shop/releases", viewer)
    ask(api, "GET", "/api/v1/services/shop", {"Authorization": "Bearer deploy_wrong"})
    ask(api, "GET", "/api/v1/nothing/at/all", viewer)
    ask(api, "POST", "/api/v1/services/shop/promote", viewer, json={})
    good, stranger, nowhere, refused = lines(capsys)
    assert good == good | {
        "event": "request",
        "at": api.scene.world.clock.now(),
        "method": "GET",
        "route": "/services/{service}/releases",
        "of": {"service": "shop"},
        "status": 200,
        "bytes": len(answer.content),
        "address": "127.0.0.1",
    }
    token = api.tokens.all()[0]
    assert (good["by"], good["token"]) == (token.name, token.id)
    assert (stranger["status"], stranger["by"], stranger["token"], stranger["route"]) == (401, "", "", "")
    assert (nowhere["status"], nowhere["route"]) == (404, "")
    assert (refused["status"], refused["method"]) == (403, "POST")


def test_nothing_that_a_client_sent_is_in_it(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    viewer = api.token("viewer")
    secret = viewer["Authorization"].removeprefix("Bearer ")
    ask(api, "GET", f"/api/v1/services/shop?token={secret}", {})
    ask(api, "GET", f"/api/v1/services/shop?token={secret}&limit=x", viewer)
    ask(api, "GET", f"/{secret}", viewer)
    ask(api, "GET", f"/api/v1/services/{secret}", viewer)
    ask(api, "POST", f"/login?next={secret}", {"X-Secret": secret}, content=f"token={secret}")
    written = capsys.readouterr().err
    assert len(written.splitlines()) == 5
    assert secret not in written
    assert secret.split("_", 2)[2] not in written  # the part that only its owner knows


def test_a_stream_is_told_of_when_it_ends(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    answer = ask(api, "GET", "/api/v1/rollouts/1/events", api.token("viewer"))
    (told,) = lines(capsys)
    assert (told["route"], told["status"]) == ("/rollouts/{number}/events", 200)
    assert told["bytes"] == len(answer.content) > 0


def test_a_run_is_told_of_at_both_ends(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Store(state, SystemClock()).close()
    runner = Processes(state, SystemClock(), os.environ, ServerLog(lines=True))
    run = runner.start(Order("promote", "shop", "a reason of mine"), "ann", "API, from 192.0.2.7, token 0")
    joined([run.id])
    began, ended = lines(capsys)
    who = {"run": run.id, "action": "promote", "service": "shop", "by": "ann"}
    assert began == began | {"event": "run.began", **who}
    assert ended == ended | {"event": "run.ended", **who, "exit": 2, "outcome": "", "rollout": 0}
    assert "of mine" not in json.dumps([began, ended])


def test_what_libraries_say_is_a_line_too_and_secrets_are_hidden(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    SecretText('s3cr"t-value')
    logger = logging.getLogger("uvicorn.error")
    before = logging.getLogger("uvicorn").handlers[:]
    logging.config.dictConfig(of_libraries(ServerLog(lines=True)))
    try:
        try:
            raise ValueError('about s3cr"t-value')
        except ValueError:
            logger.exception("it failed")
        logger.info("not worth a line")
    finally:
        logging.getLogger("uvicorn").handlers[:] = before
    (told,) = lines(capsys)
    assert (told["event"], told["level"], told["name"]) == ("log", "error", "uvicorn.error")
    assert told["text"].startswith("it failed\nTraceback")
    assert "s3cr" not in told["text"]


def test_a_person_reads_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    log = ServerLog()
    log.say("serving", "serving http://127.0.0.1:8642/; Ctrl-C ends it", url="x")
    log.say("run.began", run="x")
    assert capsys.readouterr().err == "serving http://127.0.0.1:8642/; Ctrl-C ends it\n"


def test_the_lines_of_the_page_have_the_fields(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    ask(api, "GET", "/api/v1/services/shop", api.token("viewer"))
    (real,) = lines(capsys)
    (block,) = (b.text for b in blocks(REPOSITORY / "docs/server.md") if b.language == "json")
    request, ended = map(json.loads, block.splitlines())
    assert list(request) == list(real)
    so = ["event", "at", "run", "action", "service", "by", "rollout", "exit", "outcome", "seconds"]
    assert list(ended) == so
