"""Traces of rollouts: what is in them, what asks for them, and that nobody waits for whoever takes them."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from deployer.app import operations
from deployer.core.events import Event
from deployer.core.secret import SecretText
from deployer.drivers import tracing
from deployer.drivers.tracing import Traces, wanted
from deployer.drivers.tracing_sdk import PinnedIds
from deployer.transport.fanout import on_all
from tests.house import Scene
from tests.memory import Crash, PaperPulse

SLACK = 9.0  # of a machine that does much else; a collector that is waited for takes 10 s and more
STARTED = {"release": 2, "version": "2.0", "origin": 1, "strategy": "canary", "by": "ann", "steps": [], "plan": {}}
CANARY = {"strategy": {"canary": {"steps": [10], "for": "5s", "bake": "1s"}}}


@pytest.fixture
def scene(state: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr("deployer.engine.walk.LeaseRenewer", PaperPulse)
    scene = Scene(state)
    with scene.house:
        scene.deploy("1.0")
        yield scene


@pytest.fixture(autouse=True)
def senders_end() -> Iterator[None]:
    """Wait for threads that still send what nobody waited for: they draw random numbers, which other tests repeat."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(30)
        assert not thread.is_alive(), thread


def traced(scene: Scene, exporter: InMemorySpanExporter) -> Traces:
    traces = Traces(lambda: "an installation", {}, exporter)
    scene.house.traced = traces.beside
    return traces


def finished(traces: Traces, exporter: InMemorySpanExporter) -> list[ReadableSpan]:
    assert traces.close() == ""
    return sorted(
        exporter.get_finished_spans(), key=lambda span: (span.start_time or 0, span.name not in ("rollout", "resumed"))
    )


def of(span: ReadableSpan, key: str) -> Any:
    return (span.attributes or {}).get(f"deployer.{key}")


def test_a_rollout_is_one_trace_with_a_span_for_each_step(scene: Scene) -> None:
    exporter = InMemorySpanExporter()
    traces = traced(scene, exporter)
    assert scene.deploy("2.0", "canary", manifest=CANARY).outcome == "done"
    root, *steps = finished(traces, exporter)
    plan = scene.house.store.rollouts.get(2).plan
    assert [span.name for span in steps] == [step.kind for step in plan.forward]
    assert (root.name, root.parent, root.status.status_code) == ("rollout", None, StatusCode.OK)
    said = {key: of(root, key) for key in ("service", "rollout", "release", "version", "strategy", "outcome", "exit")}
    assert said == {
        "service": "shop",
        "rollout": 2,
        "release": 2,
        "version": "2.0",
        "strategy": "canary",
        "outcome": "done",
        "exit": 0,
    }
    for span in steps:
        assert span.parent is not None
        assert root.context is not None
        assert (span.parent.span_id, span.parent.trace_id) == (root.context.span_id, root.context.trace_id)
        assert root.start_time <= span.start_time <= span.end_time <= root.end_time  # type: ignore[operator]
    watch = next(span for span in steps if span.name == "watch")
    assert of(watch, "share_bp") == 1000
    assert of(watch, "verdict") in ("inconclusive", "no worse")
    assert of(watch, "verdict_text")
    assert watch.end_time - watch.start_time == pytest.approx(5e9, rel=0.2)  # type: ignore[operator]
    assert root.resource.attributes["service.name"] == "deployer"


def test_what_went_wrong_is_an_error_without_secrets(scene: Scene) -> None:
    exporter = InMemorySpanExporter()
    traces = traced(scene, exporter)
    secret = "correct-horse-battery"
    SecretText(secret)
    scene.world.broken, scene.world.words = {"2.0"}, (f"password {secret}",)
    assert scene.deploy("2.0", "canary", manifest=CANARY).outcome == "reverted"
    spans = finished(traces, exporter)
    failed = [span for span in spans if span.status.status_code is StatusCode.ERROR]
    assert [span.name for span in failed] == ["rollout", "healthy"]
    assert (of(spans[0], "outcome"), of(spans[0], "exit")) == ("reverted", 4)
    assert [event.name for event in spans[0].events] == ["turned"]
    assert {of(span, "step.phase") for span in spans[1:]} == {"forward", "back"}
    assert secret not in "".join(span.to_json() for span in spans)


def test_whoever_takes_it_up_goes_on_with_the_trace(scene: Scene) -> None:
    def dies(event: Any) -> None:
        if event.kind == "sample":
            raise Crash("killed")

    first, second = InMemorySpanExporter(), InMemorySpanExporter()
    dead = traced(scene, first)
    scene.house.sink = dies
    with pytest.raises(Crash):
        scene.deploy("2.0", "canary", manifest=CANARY)
    scene.house.sink = scene.events.append
    traces = traced(scene, second)
    assert operations.resume(scene.house, "shop").outcome == "done"
    resumed, *steps = finished(traces, second)
    began, *_ = finished(dead, first)
    assert (began.name, of(began, "outcome")) == ("rollout", "detached")
    assert resumed.name == "resumed"
    assert began.context is not None
    assert resumed.parent is not None
    assert (resumed.parent.trace_id, resumed.parent.span_id) == (began.context.trace_id, began.context.span_id)
    assert steps[0].name == "watch"
    assert of(resumed, "outcome") == "done"


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, False),
        ({"OTEL_SDK_DISABLED": "TRUE", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, False),
        ({"OTEL_SERVICE_NAME": "shop"}, False),
    ],
)
def test_only_the_standard_variables_ask_for_traces(environ: dict[str, str], said: bool) -> None:
    assert wanted(environ) == said


def test_rollouts_that_begin_at_the_same_time_have_each_a_trace_of_its_own() -> None:
    """As those of a set do, in threads: their ids are those of their rollouts, in one provider."""
    exporter, made = InMemorySpanExporter(), list[str]()
    begin, meet = threading.Barrier(4), threading.Barrier(2)

    class Slow(Traces):
        def _exporter(self) -> Any:
            made.append("one")
            with suppress(threading.BrokenBarrierError):
                meet.wait(0.1)  # another thread gets here, too, where nothing keeps it out
            return super()._exporter()

    traces = Slow(lambda: "installation", {}, exporter)

    def run(rollout: int) -> None:
        begin.wait()
        sink = traces.beside("shop", rollout, lambda _event: None)
        sink(Event("rollout.started", 1.0, "shop", rollout, STARTED))
        sink(Event("rollout.ended", 60.0, "shop", rollout, {"outcome": "done", "exit": 0, "text": ""}))

    on_all({n: n for n in range(1, 5)}, run, 4).all()
    assert traces.close() == ""
    assert len(made) == 1
    found = {span.context.trace_id for span in exporter.get_finished_spans() if span.context}
    assert found == {traces.ids(rollout)[0] for rollout in range(1, 5)}


def test_ids_are_pinned_for_the_thread_that_pins_them() -> None:
    ids = PinnedIds()
    with ids.pinned(7, 8):
        assert in_thread(ids.generate_trace_id) != 7
        assert (ids.generate_trace_id(), ids.generate_span_id()) == (7, 8)


def in_thread(work: Callable[[], int]) -> int:
    """Return what work gives in a thread of its own."""
    found = list[int]()
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


def test_an_exporter_that_there_is_not_is_told_and_stops_nothing(scene: Scene) -> None:
    traces = Traces(lambda: "an installation", {"OTEL_TRACES_EXPORTER": "zipkin"})
    scene.house.traced = traces.beside
    assert scene.deploy("2.0").outcome == "done"
    notes = [note["text"] for note in scene.told("note") if "traces" in note["text"]]
    assert len(notes) == 1
    assert notes[0].startswith("there are no traces: zipkin by http/protobuf is not supported")
    assert traces.close() == ""


# -- over the wire


class Collector(BaseHTTPRequestHandler):
    """Takes OTLP over HTTP; `silent` takes it and never answers."""

    taken: list[ExportTraceServiceRequest]
    silent: threading.Event | None = None

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.silent is not None:
            self.silent.wait(30)
            return
        assert (self.path, self.headers["content-type"]) == ("/v1/traces", "application/x-protobuf")
        self.taken.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@contextmanager
def collector(silent: threading.Event | None = None) -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    taken: list[ExportTraceServiceRequest] = []
    handler = type("Taking", (Collector,), {"taken": taken, "silent": silent})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", taken
        finally:
            if silent:
                silent.set()
            server.shutdown()
            thread.join(10)


def sent(scene: Scene, monkeypatch: pytest.MonkeyPatch, endpoint: str, version: str = "2.0", **variables: str) -> str:
    """Deploy with a collector; return what was wrong with it."""
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, **variables}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    traces = Traces(lambda: "an installation", environ)
    scene.house.traced = traces.beside
    assert scene.deploy(version, "canary", manifest=CANARY).outcome == "done"
    began = time.monotonic()
    trouble = traces.close()
    assert time.monotonic() - began < tracing.END_SECONDS + SLACK
    return trouble


def test_a_collector_gets_the_trace(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "END_SECONDS", 60.0)  # it may be slow on a busy host
    with collector() as (endpoint, taken):
        assert sent(scene, monkeypatch, endpoint, OTEL_SERVICE_NAME="deploys") == ""
    resources = [resource for request in taken for resource in request.resource_spans]
    spans = [span for resource in resources for scope in resource.scope_spans for span in scope.spans]
    assert len({span.trace_id for span in spans}) == 1
    assert sorted(span.name for span in spans).count("watch") == 2
    assert sum(1 for span in spans if not span.parent_span_id) == 1
    named = {a.key: a.value.string_value for resource in resources for a in resource.resource.attributes}
    assert named["service.name"] == "deploys"


def test_nobody_waits_for_a_collector_that_is_silent_or_away(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracing, "END_SECONDS", 0.3)
    with caplog.at_level(logging.DEBUG), collector(threading.Event()) as (endpoint, _):
        silent = sent(scene, monkeypatch, endpoint, OTEL_EXPORTER_OTLP_TIMEOUT="1")
        assert silent.startswith("traces: no response within 0.3 s")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    assert sent(scene, monkeypatch, nobody, "3.0").startswith("traces: ")
