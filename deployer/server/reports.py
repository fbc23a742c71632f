"""Reports for pages that look again and again: judging a recording again takes the longer, the longer it is."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from deployer.app.operations import AppContext
from deployer.app.reports.gather import gather
from deployer.core.clock import Clock
from deployer.views.data import RolloutView
from deployer.views.report.data import ReportView

PART = 0.1  # of the time may go into making the report of a rollout, however many look
KEPT = 50  # rollouts


@dataclass
class _CachedReport:
    mutex: threading.Lock = field(default_factory=threading.Lock)
    report: ReportView | None = None
    events: int = 0
    until: float = 0.0  # on the monotonic clock


class ReportCache:
    """The newest reports. One is rewritten when something happened, else no more often than `PART` allows."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._mutex = threading.Lock()
        self._made: OrderedDict[int, _CachedReport] = OrderedDict()

    def of(self, house: AppContext, told: RolloutView) -> ReportView:
        """Return the report of a rollout."""
        number = told.rollout.number
        with self._mutex:
            made = self._made.setdefault(number, _CachedReport())
            self._made.move_to_end(number)
            if len(self._made) > KEPT:
                self._made.popitem(last=False)
        with made.mutex:  # who comes meanwhile gets the same
            began = self._clock.monotonic()
            if made.report is None or made.events != len(told.events) or began >= made.until:
                made.report, made.events = gather(house, told), len(told.events)
                ended = self._clock.monotonic()
                made.until = ended + (ended - began) / PART
            return made.report
