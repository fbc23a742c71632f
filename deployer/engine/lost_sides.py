"""Where a side is lost: requests of callers that give their candidate a share, and that arrive without a side."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from deployer.core.amounts import percent
from deployer.core.events import Tell
from deployer.model import FULL, Arrived, Live

# A few requests come from elsewhere, or began before the caller's share did. More is a loss: this many, and this part
# of all; but no more than half of the candidate's share, or a candidate alone that loses the side would not be seen.
LEAST, PART = 20, 0.05
# So many requests of callers behind another proxy, none with a side, say that no caller stamps.
LONGEST_GAP = 10 * LEAST
Stamping = frozenset[tuple[str, int, int]]  # callers that give a candidate a share, each with its rollout and share
UNREAD: Stamping = frozenset({("", 0, 0)})  # somebody stamps, behind another proxy


class LostSides:
    """How requests came to one service of a chain, while its callers stamped them: with one share of each.

    `read` reads what the proxy does for a caller: None where its proxy is not this one.
    """

    def __init__(self, service: str, callers: tuple[str, ...], read: Callable[[str], Live | None], tell: Tell) -> None:
        self._service, self._callers, self._read, self._tell = service, callers, read, tell
        self._seen = Arrived()
        self._held = Arrived()  # since the last one with a side, where no caller can be read
        self._share = 0
        self._stamping: Stamping = frozenset()  # at the look before
        self._told = 0  # requests without a side that were told

    def look(self, arrived: Arrived) -> None:
        """Count what arrived since the last look; report it, once a side is lost."""
        if not arrived.all:
            return
        known = {name: live for name in self._callers if (live := self._read(name)) is not None}
        stamping: Stamping = frozenset((name, live.rollout, live.share) for name, live in known.items() if live.share)
        held, self._held = self._held, Arrived()
        if not known:
            if arrived.without == arrived.all:
                self._held = held + arrived
                return
            stamping, arrived = UNREAD, held + arrived
        if stamping != self._stamping or held.all > LONGEST_GAP:  # some of these requests may be from before
            self._stamping, self._seen, self._told = stamping, Arrived(), 0
        elif stamping:
            self._seen += arrived
            self._share = max((live.share for live in known.values()), default=0)
            if not self._told:
                self.tell_more()

    def tell_more(self) -> None:
        """Report how many sides were lost, if that is news."""
        seen = self._seen
        part = min(PART, self._share / FULL / 2) if self._share else PART
        if self._stamping != UNREAD and len(self._stamping) < len(self._callers):
            part = 1.0  # requests of the other callers have no side by right
        if seen.without > self._told and seen.without >= max(LEAST, part * seen.all):
            self._told = seen.without
            self._tell("side.lost", text=self._text(), **self._values())

    def _values(self) -> Mapping[str, Any]:
        seen = self._seen
        return {
            "callers": list(self._callers),
            "requests": seen.all,
            "candidate": seen.candidate,
            "without": seen.without,
            "share": self._share,
        }

    def _text(self) -> str:
        seen = self._seen
        arrive = percent(round(1000 * seen.candidate / seen.all) * 10)
        instead = f" instead of {percent(self._share)}" if self._share else ""
        return (
            f"side is lost between {' or '.join(self._callers)} and {self._service}: {arrive} of {seen.all:,} requests"
            f" arrive for the candidate{instead}, {seen.without:,} carry no side;"
            " the application must pass on X-Deployer-Side or baggage"
        )
