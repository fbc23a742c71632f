"""What tracing needs of OpenTelemetry's SDK: ids that are given, and an exporter that counts what was not taken."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator


class _Pinned(threading.local):
    """The ids that a thread has pinned."""

    ids: tuple[int, int] | None = None


class PinnedIds(RandomIdGenerator):
    """Random ids, but for the span that a thread begins while it has some pinned: members of a set begin together."""

    def __init__(self) -> None:
        self._pinned = _Pinned()

    @contextmanager
    def pinned(self, trace: int, span: int) -> Iterator[None]:
        """Assign these ids to the next span."""
        self._pinned.ids = (trace, span)
        try:
            yield
        finally:
            self._pinned.ids = None

    def generate_trace_id(self) -> int:
        """Return an id for a trace."""
        return self._pinned.ids[0] if self._pinned.ids else super().generate_trace_id()

    def generate_span_id(self) -> int:
        """Return an id for a span."""
        return self._pinned.ids[1] if self._pinned.ids else super().generate_span_id()


class Counting(SpanExporter):
    """Passes spans on, and counts those that were not taken."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.failed = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans."""
        result = self._exporter.export(spans)
        self.failed += len(spans) if result is not SpanExportResult.SUCCESS else 0
        return result

    def shutdown(self) -> None:
        """Send no more."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Send what waits in the exporter."""
        return self._exporter.force_flush(timeout_millis)
