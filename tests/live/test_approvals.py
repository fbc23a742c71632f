"""A real canary that waits for two people: killed while they think, taken up again; and what does not pass it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from deployer.core.errors import Exit
from tests.live.serving import Api, server, token
from tests.live.shop import Shop
from tests.load import Load, Options
from tests.ports import free_port

pytestmark = pytest.mark.live

USERS = Options(rate=60, kinds=("fresh", "busy", "sticky"))
BOTH = {"by": ["ann", "ben"], "count": 2, "within": "5m"}


@pytest.fixture
def shop(process_shop: Shop) -> Shop:
    process_shop.write(
        strategy={"canary": {"steps": [30], "for": "2s", "bake": "1s"}},
        approve=BOTH,
        traffic={**process_shop.manifest["traffic"], "lease": "4s"},
    )
    process_shop.version("2.0")
    return process_shop


def person(shop: Shop, name: str, *arguments: str, expect: int = 0) -> str:
    shop.environ["DEPLOYER_ACTOR"] = name
    done = shop.deploy(*arguments, expect=expect)
    return done.stdout + done.stderr


def waits(status: dict[str, Any]) -> bool:
    return bool(status["approval"]) and bool(status["share"])


@pytest.mark.long("a rollout that is killed while it waits for people", every_change=True)
def test_it_is_killed_while_people_think_and_goes_on_when_both_have_approved(shop: Shop) -> None:
    with Load(shop.url, USERS) as load:
        shop.environ["DEPLOYER_ACTOR"] = "zoe"
        with shop.start("canary", "--version", "2.0") as process:
            status = shop.wait(waits, "it waits for both")
            assert (status["approval"]["whose"], status["approval"]["given"]) == ("ann and ben", [])
            assert "needs the approval of ann and ben" in person(shop, "zoe", "promote", expect=Exit.REFUSED)
            assert "zoe is not asked" in person(shop, "zoe", "approve", expect=Exit.REFUSED)
            assert "1 of 2" in person(shop, "ann", "approve", "-m", "numbers are fine")
            assert "counts once" in person(shop, "ann", "approve", expect=Exit.REFUSED)
            process.kill()
            process.wait(10)
        shop.wait(lambda s: not s["share"], "its users are back when the lease is over")
        assert "its process is gone" in person(shop, "ben", "approve", "2")
        assert "is live" in person(shop, "zoe", "resume")
        report = load.stop()
    assert report.failed == 0, report.text()
    records = reversed(shop.events("audit", "--service", shop.name)[0]["records"])
    told = [(r["action"], r["result"], r["by"].partition("@")[0]) for r in records if r["action"] == "approve"]
    assert told[:2] == [("approve", "given", "ann"), ("approve", "given", "ben")]
    assert told[2][:2] == ("approve", "done")
    shop.deploy("audit", "verify")


@pytest.mark.long("a canary that waits for people")
def test_over_the_api_a_refusal_takes_everybody_back(shop: Shop) -> None:
    port = free_port()
    starter = token(shop, "operator")
    ann = shop.deploy("token", "create", "ann", "--role", "operator").stdout.strip()
    with server(shop, port), Load(shop.url, USERS) as load:
        number = Api(shop, port, starter).post("rollouts", version="2.0").json()["rollout"]
        shop.wait(waits, "it waits for both")
        assert Api(shop, port, starter).post("approve").status_code == 422
        told = Api(shop, port, ann).post("approve", refuse=True, reason="not today", rollout=number).json()
        assert (told["exit"], told["text"].partition(": ")[2].partition("@")[0]) == (0, "refused by ann")
        shop.wait(lambda s: not s["rollout"] and s["stable_version"] == "1.0", "it was rolled back")
        report = load.stop()
    assert report.failed == 0, report.text()
    row = shop.events("history")[0]["rollouts"][0]
    assert (row["outcome"], row["exit"]) == ("reverted", Exit.ABORTED)


# -- its trace


@contextmanager
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    taken: list[ExportTraceServiceRequest] = []

    class Taking(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append(ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Taking) as at:
        thread = threading.Thread(target=at.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{at.server_port}", taken
        finally:
            at.shutdown()
            thread.join(10)


@pytest.mark.long("a whole canary")
def test_a_collector_gets_the_trace_of_a_real_canary(shop: Shop) -> None:
    shop.manifest.pop("approve")
    shop.write()
    with collector() as (endpoint, taken), Load(shop.url, USERS) as load:
        shop.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = endpoint
        shop.deploy("canary", "--version", "2.0")
        load.stop()
    spans = [
        span for request in taken for r in request.resource_spans for scope in r.scope_spans for span in scope.spans
    ]
    (root,) = [span for span in spans if not span.parent_span_id]
    assert {span.trace_id for span in spans} == {root.trace_id}
    assert root.name == "rollout"
    (shown,) = shop.events("show")
    assert sorted(s.name for s in spans if s is not root) == sorted(step["kind"] for step in shown["steps"])
    (first, *_) = [span for span in spans if span.name == "watch"]
    said = {a.key: a.value for a in first.attributes}
    assert said["deployer.share_bp"].int_value == 3000
    assert said["deployer.verdict"].string_value
