"""Numbers for Prometheus, read from the store when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from deployer import __version__

if TYPE_CHECKING:
    from deployer.server.desk import Desk


def exposition(desk: Desk) -> tuple[bytes, str]:
    """Give the text and its media type."""
    registry = CollectorRegistry()
    registry.register(_Collector(desk))
    return generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4


class _Collector:
    """Collects what the store knows of all services, and what this server did."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def collect(self) -> Iterator[Metric]:
        """Give the metrics."""
        store = self._desk.stores.store()
        yield GaugeMetricFamily("deployer_up", f"The server answers; version {__version__}.", value=1)
        labels = ["service", "strategy", "outcome", "exit"]
        ended = CounterMetricFamily("deployer_rollouts", "Rollouts that have ended.", labels=labels)
        seconds = CounterMetricFamily("deployer_rollout_seconds", "Time that ended rollouts took.", labels=labels)
        for total in store.totals():
            of = [total.service, total.strategy, total.outcome, str(total.exit)]
            ended.add_metric(of, total.count)
            seconds.add_metric(of, total.seconds)
        yield ended
        yield seconds
        under_way = GaugeMetricFamily(
            "deployer_rollout_open", "1 while a rollout is unfinished.", labels=["service", "state"]
        )
        stable = GaugeMetricFamily("deployer_stable_release", "The release that users are on.", labels=["service"])
        for service in store.services():
            stable.add_metric([service.name], service.stable)
            rollout = store.open_rollout(service.name)
            if rollout is not None:
                driven = "driven" if store.locks.read(service.name) else "nobody"
                under_way.add_metric([service.name, rollout.outcome or driven], 1)
        yield stable
        yield under_way
        yield GaugeMetricFamily("deployer_api_streams", "Clients on event streams.", value=self._desk.hub.listeners)
        answered = CounterMetricFamily(
            "deployer_api_answers", "Answers of this API.", labels=["method", "route", "status"]
        )
        for (method, route, status), count in sorted(self._desk.answered.items()):
            answered.add_metric([method, route, str(status)], count)
        yield answered
