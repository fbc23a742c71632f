"""Traces for OpenTelemetry: one for a rollout, a span for each of its steps, made of its events.

They are asked for by OpenTelemetry's own variables (https://opentelemetry.io/docs/languages/sdk-configuration/) and by
nothing else. Ids follow from installation and rollout, so that all processes that drive a rollout write one trace.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from deployer.core.digest import sha256
from deployer.core.events import Event, Sink
from deployer.core.secret import hide

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span, Tracer

END_SECONDS = 2.0  # for which a command waits at its end for whoever takes the traces
_NEEDED = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
_LEADS = frozenset({"rollout.ended", "rollout.paused", "rollout.detached"})  # events with which a process is through
_HEARD = ("approval.asked", "approval.given", "approval.refused", "approval.expired", "budget.spent", "lease.over")


def wanted(environ: Mapping[str, str]) -> bool:
    """Return whether the standard variables ask for traces."""
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or exporter == "none":
        return False
    addresses = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return bool(exporter or any(environ.get(name) for name in addresses))


class Traces:
    """The traces of the rollouts that this process drives. What goes wrong with them is told, and stops nothing."""

    def __init__(
        self, installation: Callable[[], str], environ: Mapping[str, str], exporter: SpanExporter | None = None
    ) -> None:
        self._installation, self._environ, self._given = installation, environ, exporter
        self._provider: TracerProvider | None = None
        self._ids: Any = None
        self._told: Any = None
        self._broken = False
        self._open: list[_SpanMaker] = []
        self._beginning = threading.Lock()  # members of a set begin at the same time

    def beside(self, service: str, rollout: int, sink: Sink) -> Sink:
        """Return the sink of a drive of a rollout: what there is, and beside it its trace."""
        if self._broken or not (self._given or wanted(self._environ)):
            return sink
        with self._beginning:
            why = self._begin()
        if why:
            self._broken = True
            sink(Event("note", 0.0, service, rollout, {"text": f"there are no traces: {why}"}))
            return sink
        listener = _SpanMaker(self, service, rollout, sink)
        self._open.append(listener)
        return listener

    def close(self) -> str:
        """End what is open and send what is left, but not for long; return what went wrong, "" for nothing."""
        if self._provider is None:
            return ""
        for listener in self._open:
            listener.end()
        provider, self._provider = self._provider, None

        def send() -> None:
            provider.force_flush(int(END_SECONDS * 1000))
            provider.shutdown()

        thread = threading.Thread(target=send, name="traces", daemon=True)
        thread.start()
        thread.join(END_SECONDS)
        if thread.is_alive():
            return f"traces: no response within {END_SECONDS:g} s; this command did not wait for it any more"
        return f"traces: {self._told.failed} spans were not taken" if self._told.failed else ""

    def _begin(self) -> str:
        """Make ready; return why not, "" if all is well. Nothing of OpenTelemetry is imported before."""
        if self._provider is not None:
            return ""
        missing = [name for name in _NEEDED if not _found(name)]
        if missing:
            from deployer.core import extras

            return f"{', '.join(missing)} is not installed: {extras.how_to_add('otel')}"
        import logging

        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        from deployer.drivers.tracing_sdk import Counting, PinnedIds

        quiet = logging.getLogger("opentelemetry")  # what it has to say is said by `close`, once
        quiet.propagate = False
        quiet.addHandler(logging.NullHandler())
        exporter, why = self._exporter()
        if exporter is None:
            return why
        given = self._environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
        named = bool(self._environ.get("OTEL_SERVICE_NAME")) or "service.name=" in given
        self._ids, self._told = PinnedIds(), Counting(exporter)
        resource = Resource.create({} if named else {"service.name": "deployer"})
        self._provider = TracerProvider(resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(self._told))
        return ""

    def _exporter(self) -> tuple[SpanExporter | None, str]:
        if self._given is not None:
            return self._given, ""
        kind = self._environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() or "otlp"
        if kind == "console":
            from opentelemetry.sdk.trace.export import ConsoleSpanExporter

            return ConsoleSpanExporter(out=sys.stderr), ""
        names = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
        protocol = next((self._environ[name] for name in names if self._environ.get(name)), "http/protobuf")
        if kind != "otlp" or protocol != "http/protobuf":
            return None, f"{kind} by {protocol} is not supported; OTEL_TRACES_EXPORTER=otlp goes by http/protobuf"
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        return OTLPSpanExporter(), ""

    def ids(self, rollout: int) -> tuple[int, int]:
        """Return the ids of a rollout's trace and of its first span."""
        made = bytes.fromhex(sha256(f"{self._installation()} {rollout}".encode()))
        return int.from_bytes(made[:16]), int.from_bytes(made[16:24])

    def tracer(self) -> Tracer | None:
        """Return what makes spans; None once it is over."""
        return self._provider.get_tracer("deployer") if self._provider else None

    def first(self, rollout: int, at: int, attributes: Mapping[str, Any]) -> Span | None:
        """Begin the span of a whole rollout."""
        tracer = self.tracer()
        if tracer is None:
            return None
        with self._ids.pinned(*self.ids(rollout)):
            return tracer.start_span("rollout", attributes=dict(attributes), start_time=at)


def _found(name: str) -> bool:
    try:
        import importlib.util

        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of what it is in
        return False


class _SpanMaker:
    """Makes spans of the events of one drive of a rollout."""

    def __init__(self, traces: Traces, service: str, rollout: int, sink: Sink) -> None:
        self._traces, self._service, self._rollout, self._sink = traces, service, rollout, sink
        self._root: Span | None = None
        self._step: Span | None = None
        self._share = 0
        self._at = 0
        self._over = False

    def __call__(self, event: Event) -> None:
        """Pass an event on, then make of it what it is in the trace."""
        self._sink(event)
        if self._over:
            return
        try:
            self._see(event)
        except Exception as error:  # noqa: BLE001 - a bug of ours, or of a library, is no business of the rollout
            self._over = True
            text = f"the trace of this rollout ends here: internal error: {type(error).__name__}: {error}"
            self._sink(Event("note", event.at, event.service, event.rollout, {"text": hide(text)}))

    def _see(self, event: Event) -> None:
        self._at = int(event.at * 1e9)
        if self._root is None:
            self._root = self._begin(event)
        data = event.data
        match event.kind:
            case "step.began":
                self._end_step()
                self._step = self._child(str(data.get("step", "step")), data)
            case "traffic.changed":
                self._share = int(data.get("share") or 0)
                self._note(**{"deployer.share_bp": self._share})
            case "verdict":
                self._note(**{"deployer.verdict": data.get("verdict"), "deployer.verdict_text": data.get("text")})
            case "step.done":
                self._end_step()
            case "step.failed":
                self._end_step(str(data.get("error", "")))
            case kind if kind in _HEARD and self._step is not None:
                self._step.add_event(kind, _plain({"text": data.get("text")}), self._at)
            case "rollout.rolling_back" if self._root is not None:
                self._root.add_event("turned", _plain({"error": data.get("error")}), self._at)
            case kind if kind in _LEADS:
                outcome = data.get("outcome") or kind.removeprefix("rollout.")
                self._finish(str(outcome), int(data.get("exit") or 0), str(data.get("text", "")))

    def _begin(self, event: Event) -> Span | None:
        about = {"deployer.service": self._service, "deployer.rollout": self._rollout}
        if event.kind == "rollout.started":
            keys = ("release", "version", "origin", "strategy", "by")
            about |= {f"deployer.{key}": event.data.get(key) for key in keys}
            return self._traces.first(self._rollout, self._at, _plain(about))
        about |= {"deployer.by": event.data.get("by")}
        return self._under(_elsewhere(*self._traces.ids(self._rollout)), "resumed", about)

    def _child(self, name: str, data: Mapping[str, Any]) -> Span | None:
        about = {f"deployer.step.{key}": data.get(key) for key in ("n", "phase", "text")}
        return self._under(self._root, name, {**about, "deployer.share_bp": self._share}) if self._root else None

    def _under(self, parent: Span, name: str, about: Mapping[str, Any]) -> Span | None:
        from opentelemetry.trace import set_span_in_context

        tracer = self._traces.tracer()
        if tracer is None:
            return None
        return tracer.start_span(name, set_span_in_context(parent), attributes=_plain(about), start_time=self._at)

    def _note(self, **attributes: Any) -> None:
        if self._step is not None:
            self._step.set_attributes(_plain(attributes))

    def _end_step(self, failed: str = "") -> None:
        step, self._step = self._step, None
        if step is not None:
            _status(step, failed)
            step.end(self._at)

    def _finish(self, outcome: str, code: int, text: str) -> None:
        self._end_step()
        if self._root is not None:
            self._root.set_attributes(_plain({"deployer.outcome": outcome, "deployer.exit": code}))
            _status(self._root, text if outcome in ("reverted", "needs-attention") else "")
            self._root.end(self._at)
        self._over = True

    def end(self) -> None:
        """End what was left open: its process did not come to an end that is told."""
        if not self._over and self._root is not None:
            self._finish("detached", 0, "")


def _elsewhere(trace: int, span: int) -> Span:
    """Return the first span of a rollout that another process has begun."""
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

    return NonRecordingSpan(SpanContext(trace, span, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED)))


def _status(span: Span, failed: str) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.set_status(Status(StatusCode.ERROR, hide(failed)) if failed else Status(StatusCode.OK))


def _plain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is not known; a trace goes elsewhere, so nothing secret is in its texts."""
    given = {key: value for key, value in attributes.items() if value is not None}
    return {key: hide(value) if isinstance(value, str) else value for key, value in given.items()}
