"""Numbers for Prometheus: of the store, of what is live while a rollout is in progress, and of this server.

What costs anything is kept for a while, so that it does not matter how often somebody asks.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from deployer import __version__
from deployer.app.certificates import ends
from deployer.core.errors import Refused
from deployer.server.observer import Observer, ServiceObservation, look
from deployer.store import Store

if TYPE_CHECKING:
    from deployer.server.context import ServerContext

VERDICTS = ("no worse", "worse", "inconclusive")
EVERY = 1.0  # seconds for which the numbers of the store are kept, at the least
PART = 0.1  # of the time may go into making them
_BY = ["service", "strategy", "outcome", "exit"]


class ServerMetrics:
    """Makes the text; all who ask within a moment get the same numbers of the store."""

    def __init__(self, desk: ServerContext) -> None:
        self._desk = desk
        self._sight = Observer(lambda: look(desk), desk.clock)
        self._endings = Endings()
        self._mutex = threading.Lock()
        self._text, self._until = b"", -1.0

    def exposition(self) -> tuple[bytes, str]:
        """Return the text and its media type. Raises StoreFailed."""
        seen, clock = self._sight.newest(), self._desk.clock
        with self._mutex:  # who comes meanwhile gets the same
            began = clock.monotonic()
            if not self._text or began >= self._until:
                self._text = _text(self._known(seen))
                ended = clock.monotonic()
                self._until = ended + max(EVERY, (ended - began) / PART)
            return self._text + _text(self._answered()), CONTENT_TYPE_PLAIN_0_0_4

    def _known(self, seen: tuple[ServiceObservation, ...]) -> Iterator[Metric]:
        store = self._desk.stores.store()
        yield InfoMetricFamily("deployer_build", "The deployer that serves this.", value={"version": __version__})
        yield from self._endings.families(store)
        yield from self._of_services(store)
        yield from self._certificates()
        yield from self._live(seen)

    def _of_services(self, store: Store) -> Iterator[Metric]:
        now, monotonic = self._desk.clock.now(), self._desk.clock.monotonic()
        under_way = _gauge("deployer_rollout_open", "1 while a rollout is in progress.", "state")
        lasting = _gauge("deployer_rollout_open_seconds", "How long the rollout in progress has lasted.")
        stable = _gauge("deployer_stable_release", "The release that was promoted last.")
        verdict = _gauge("deployer_verdict", "1 for the judge's last verdict on the rollout in progress.", "verdict")
        measured = _gauge("deployer_share_actual_ratio", "Actual part of the requests that the candidate got.")
        held = _gauge("deployer_lock_held_seconds", "How long the lock has been held.")
        silent = _gauge("deployer_lock_silent_seconds", "Time since the last heartbeat of the lock's holder.")
        for service in store.services.all():
            name = service.name
            stable.add_metric([name], service.stable)
            lock, rollout = store.locks.read(name), store.rollouts.in_progress(name)
            if lock is not None:
                held.add_metric([name], max(0.0, now - lock.since))
                silent.add_metric([name], max(0.0, lock.silent(monotonic)))
            if rollout is None:
                continue
            under_way.add_metric([name, rollout.outcome or ("running" if lock else "interrupted")], 1)
            lasting.add_metric([name], max(0.0, now - rollout.started_at))
            said = store.events.last_verdict(rollout.number)
            for word in VERDICTS:
                verdict.add_metric([name, word], said == word)
            sample = self._desk.sample(rollout.number, name)
            share = sample.data.get("share_actual") if sample else None
            if share is not None:
                measured.add_metric([name], share / 10_000)
        yield from (under_way, lasting, stable, verdict, measured, held, silent)

    def _certificates(self) -> Iterator[Metric]:
        end = _gauge("deployer_certificate_end_seconds", "When a certificate ends, Unix time.", "domain")
        failed = _gauge("deployer_certificate_failed_orders", "Orders that failed in a row.", "domain")
        with self._desk.house() as house, suppress(Refused):  # the libraries of the extra `tls` are not there
            for one in {(each.service, each.domain): each for each in ends(house)}.values():
                end.add_metric([one.service, one.domain], one.ends)
                failed.add_metric([one.service, one.domain], one.failures)
        yield from (end, failed)

    def _live(self, seen: tuple[ServiceObservation, ...]) -> Iterator[Metric]:
        now, monotonic = self._desk.clock.now(), self._desk.clock.monotonic()
        read = _gauge(
            "deployer_live_readable", "1 if proxy and runtime were reachable, while a rollout is in progress."
        )
        age = _gauge("deployer_live_age_seconds", "Time since proxy and runtime were asked.")
        share = _gauge("deployer_share_ratio", "Part of the traffic that the candidate gets.")
        asked = _gauge("deployer_share_target_ratio", "Target share, regardless of lease and budget.")
        lease = _gauge("deployer_lease_left_seconds", "Time until the share runs out unless it is renewed.")
        budget = _gauge("deployer_budget_answers", "Failed responses of the candidate that users may see (budget).")
        left = _gauge("deployer_budget_left_answers", "How many of them are left.")
        for one in seen:
            read.add_metric([one.service], one.read)
            age.add_metric([one.service], max(0.0, monotonic - one.at))
            if not one.read:
                continue
            share.add_metric([one.service], one.share / 10_000)
            asked.add_metric([one.service], one.asked / 10_000)
            if one.lease:
                lease.add_metric([one.service], max(0.0, one.lease - now))
            if one.budget:
                budget.add_metric([one.service], one.budget)
                left.add_metric([one.service], max(0, one.budget - one.spent))
        yield from (read, age, share, asked, lease, budget, left)

    def _answered(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("deployer_api_streams", "Clients on event streams.", value=self._desk.hub.listeners)
        labels = ["method", "route", "status"]
        answered = CounterMetricFamily("deployer_api_answers", "Responses of this API.", labels=labels)
        for (method, route, status), count in sorted(self._desk.answered.copy().items()):
            answered.add_metric([method, route, str(status)], count)
        yield answered
        bugs = CounterMetricFamily("deployer_loop_bugs", "Looks of background loops that met a bug.", labels=["loop"])
        for loop in self._desk.loops:
            bugs.add_metric([loop.name], loop.bugs)
        yield bugs


class Endings:
    """Counts rollouts that have ended; each is read once."""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._store: Store | None = None
        self._newest, self._open = 0, frozenset[int]()
        self._count = Counter[tuple[str, ...]]()
        self._seconds: dict[tuple[str, ...], float] = {}

    def families(self, store: Store) -> Iterator[Metric]:
        """Yield the counters, after reading what has ended since."""
        if store is not self._store:  # it was rebuilt: other numbers
            self._forget()
            self._store = store
        times = store.rollouts.times(self._newest, self._open)
        for one in times:
            if one.ended:
                by = (one.service, one.strategy, one.outcome, str(one.exit))
                worked = min(one.worked, one.seconds)
                self._count[by] += 1
                for part, seconds in (("working", worked), ("waiting", one.seconds - worked)):
                    self._seconds[*by, part] = self._seconds.get((*by, part), 0.0) + seconds
        self._open = frozenset(one.number for one in times if not one.ended)
        self._newest = max((self._newest, *(one.number for one in times)))
        ended = CounterMetricFamily("deployer_rollouts", "Rollouts that have ended.", labels=_BY)
        took = CounterMetricFamily(
            "deployer_rollout_seconds", "Time that ended rollouts worked and waited.", labels=[*_BY, "part"]
        )
        for labels, count in sorted(self._count.items()):
            ended.add_metric(labels, count)
        for labels, seconds in sorted(self._seconds.items()):
            took.add_metric(labels, seconds)
        yield ended
        yield took


def _gauge(name: str, about: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, about, labels=["service", *labels])


def _text(families: Iterable[Metric]) -> bytes:
    registry = CollectorRegistry()
    registry.register(_Made(list(families)))
    return generate_latest(registry)


class _Made(Collector):
    """Families that were made already."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        """Return them."""
        return self._families
