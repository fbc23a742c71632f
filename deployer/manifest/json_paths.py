"""JSON paths that a manifest names: looked at when it is loaded, for what reads them is too slow for a rollback."""

from __future__ import annotations

from collections.abc import Iterator

from deployer.manifest.base import Conflict
from deployer.manifest.metrics import KNOWN
from deployer.manifest.models import Manifest
from deployer.manifest.placeholders import fill


def wrong(manifest: Manifest) -> Iterator[Conflict]:
    """Yield a conflict for each JSON path that cannot be read."""
    for index, metric in enumerate(manifest.judge.metrics):
        reason = _reason(fill(metric.value, dict.fromkeys(KNOWN, "x"))) if metric.value else ""
        if reason:
            at = f"judge.metrics[{index}].value"
            yield Conflict(at, f"{metric.value} is not a JSON path (RFC 9535): {reason}", "e.g. $.errors.rate")


def _reason(path: str) -> str:
    from jsonpath import JSONPathEnvironment, JSONPathError

    try:
        JSONPathEnvironment(strict=True).compile(path)
    except JSONPathError as error:
        return str(error).partition("\n")[0]
    return ""
