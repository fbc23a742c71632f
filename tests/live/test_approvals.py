"""A real canary that waits for two people: killed while they think, taken up again; and what does not pass it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from deployer.core.errors import Exit
from tests.live.people import ask_both, waits
from tests.live.serving import Api, server, token
from tests.live.shop import Shop
from tests.load import Load, Options
from tests.ports import free_port

pytestmark = pytest.mark.live

USERS = Options(rate=60, kinds=("fresh", "busy", "sticky"))


@pytest.fixture
def shop(process_shop: Shop) -> Shop:
    ask_both(process_shop)
    return process_shop


@pytest.mark.long("a canary that waits for people")
def test_over_the_api_a_refusal_takes_everybody_back(shop: Shop) -> None:
    port = free_port()
    starter = token(shop, "operator")
    ann = shop.deploy("token", "create", "ann", "--role", "operator").stdout.strip()
    with server(shop, port), Load(shop.url, USERS) as load:
        number = Api(shop, port, starter).begin(version="2.0")
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
