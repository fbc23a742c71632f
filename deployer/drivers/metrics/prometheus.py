"""Prometheus' HTTP API: instant and range queries that give one number.

Source: https://prometheus.io/docs/prometheus/latest/querying/api/. Thanos, Mimir and VictoriaMetrics answer the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from deployer.core.clock import Deadline
from deployer.core.secret import SecretText
from deployer.drivers.metrics.http import SourceResponse, ask
from deployer.drivers.metrics.number import Unreadable, brief, document, finite
from deployer.drivers.ports import MetricSide
from deployer.manifest.metrics import Metric
from deployer.manifest.placeholders import fill


def read(
    metric: Metric, side: MetricSide, secrets: Mapping[str, SecretText], folder: Path, deadline: Deadline
) -> float | None:
    """Ask for one side; return the number, None when there is no data. Raises Unreadable."""
    query = fill(metric.query or getattr(metric, side.side) or "", _quoted(side))
    form = {"query": query, "timeout": f"{max(deadline.left(), 0.001):.3f}"}
    if metric.range:
        now = deadline.clock.now()
        form |= {"start": f"{now - metric.range:.3f}", "end": f"{now:.3f}", "step": f"{metric.resolution:.3f}"}
    kind = "query_range" if metric.range else "query"
    url = f"{(metric.prometheus or '').rstrip('/')}/api/v1/{kind}"
    # POST, because a long query does not fit into a URL.
    answer = ask(url, metric, secrets, folder, deadline, form)
    values = _values(answer, "matrix" if metric.range else "vector")
    return _reduced(values, metric.reduce or "mean") if values else None


def _quoted(side: MetricSide) -> dict[str, str]:
    """Return the words as they stand within a string of PromQL."""
    return {word: value.replace("\\", "\\\\").replace('"', '\\"') for word, value in side.words().items()}


def _values(answer: SourceResponse, form: str) -> list[float]:
    """Return the values of the only series, without those that are no number."""
    data = _data(answer)
    result = data.get("result")
    if data.get("resultType") == "scalar" and isinstance(result, list):
        pairs = [result]
    elif data.get("resultType") == form and isinstance(result, list):
        pairs = _pairs(result)
    else:
        raise Unreadable(f"the query gives a {data.get('resultType')}, a number is needed")
    try:
        values = [finite(value) for _, value in pairs]
    except (TypeError, ValueError):
        raise Unreadable("the response is not one of Prometheus' API") from None
    return [value for value in values if value is not None]


def _data(answer: SourceResponse) -> dict[str, Any]:
    try:
        given = document(answer.text)
    except Unreadable:
        if not answer.ok:
            raise Unreadable(f"HTTP {answer.status}{answer.said()}") from None
        raise
    if isinstance(given, dict) and given.get("status") == "error":
        raise Unreadable(f"{given.get('errorType')}: {brief(given.get('error'))}")
    if not answer.ok:
        raise Unreadable(f"HTTP {answer.status}")
    data = given.get("data") if isinstance(given, dict) else None
    if not isinstance(data, dict):
        raise Unreadable("the response is not one of Prometheus' API")
    return data


def _pairs(series: list[Any]) -> list[Any]:
    if len(series) > 1:
        raise Unreadable(f"the query gives {len(series)} series, one is needed: wrap it in sum() or max()")
    if not series:
        return []
    only = series[0] if isinstance(series[0], dict) else {}
    pairs = only.get("values", [only.get("value")])
    return pairs if isinstance(pairs, list) else []


def _reduced(values: list[float], how: str) -> float:
    match how:
        case "last":
            return values[-1]
        case "max":
            return max(values)
        case "min":
            return min(values)
    return fmean(values)
