"""Reading a metric: which source it has, what it is asked, what the answer means."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from deployer.core import commands
from deployer.core.clock import Deadline
from deployer.core.errors import DriverFailed
from deployer.core.secret import SecretText, hide
from deployer.drivers.metrics.number import Unreadable, number_in
from deployer.drivers.ports import MetricSide, Runtime
from deployer.manifest.metrics import Metric
from deployer.manifest.placeholders import fill

MOST = 1024 * 1024  # bytes of an answer


class SourceMetrics:
    """The sources that a manifest names. Commands run in `folder`, the manifest's; paths are relative to it. Logs are
    those of the instances of `runtime`.

    What speaks HTTP is imported when it is needed: a rollback has no time for it.
    """

    def __init__(self, folder: Path, runtime: Runtime) -> None:
        self._folder = folder
        self._runtime = runtime

    def read(
        self, metric: Metric, side: MetricSide, secrets: Mapping[str, SecretText], deadline: Deadline
    ) -> float | None:
        """Return the metric's value for a side now, a finite number; None when the source has no data on it.

        Raises DriverFailed, naming the source, when it does not respond or answers something else than one number.
        """
        try:
            if metric.prometheus:
                from deployer.drivers.metrics import prometheus

                return prometheus.read(metric, side, secrets, self._folder, deadline)
            if metric.logs:
                from deployer.drivers.metrics import logs

                return logs.read(metric, side, self._runtime, deadline)
            text = self._http(metric, side, secrets, deadline) if metric.http else self._command(metric, side, deadline)
            return number_in(text, fill(metric.value, side.words()) if metric.value else None)
        except (Unreadable, commands.CommandFailed) as error:
            raise DriverFailed(hide(f"{_name(metric, side)}: {error}")) from None  # the cause may repeat a secret

    def _http(self, metric: Metric, side: MetricSide, secrets: Mapping[str, SecretText], deadline: Deadline) -> str:
        from deployer.drivers.metrics.http import ask

        url = _filled(metric.http or "", side)
        answer = ask(url, metric, secrets, self._folder, deadline)
        if not answer.ok:
            raise Unreadable(f"HTTP {answer.status}{answer.said()}")
        return answer.text

    def _command(self, metric: Metric, side: MetricSide, deadline: Deadline) -> str:
        command = [fill(word, side.words()) for word in metric.command or ()]
        return commands.run(command, self._folder, os.environ, deadline.left, most=MOST).decode(errors="replace")


def _filled(url: str, side: MetricSide) -> str:
    """Fill in the words of a URL, so that none of them can be read as a part of its form."""
    return fill(url, {word: quote(value, safe="") for word, value in side.words().items()})


def _name(metric: Metric, side: MetricSide) -> str:
    """Name the source for people: a URL without its query, which may be long or nobody's business."""
    if metric.command:
        return fill(metric.command[0], side.words())
    return _filled(metric.prometheus or metric.http or "", side).partition("?")[0]
