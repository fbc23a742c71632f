"""What is known of a rollout so far, told by its events: a notice for each that is worth one."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from deployer.core.events import Event
from deployer.core.secret import hide
from deployer.drivers.notices.notice import LONGEST, Kind, Notice, NoticeSide
from deployer.manifest.placeholders import fill
from deployer.model import FULL
from deployer.planning.orders import OCCASIONS

_KINDS: dict[str, Kind] = {
    "rollout.started": "started",
    "verdict": "verdict",
    "approval.asked": "approval",
    "rollout.paused": "paused",
    "rollout.detached": "detached",
}


@dataclass(frozen=True)
class RolloutFacts:
    """What is known of a rollout when it begins."""

    release: int
    version: str
    strategy: str
    by: str
    reason: str
    began: float
    served: bool = True  # users reach the service


class Account:
    """Follows the events of one rollout."""

    def __init__(self, facts: RolloutFacts, link: str) -> None:
        self._facts, self._link = facts, link
        self._share: int | None = None
        self._verdict = ""
        self._sides: tuple[NoticeSide | None, NoticeSide | None] = (None, None)

    def follow(self, events: Iterable[Event]) -> None:
        """Learn what an earlier drive of the rollout told."""
        for event in events:
            self._learn(event)

    def see(self, event: Event) -> Notice | None:
        """Learn from an event, and give the notice that it is worth."""
        self._learn(event)
        kind = self._kind(event)
        return self._notice(kind, event) if kind else None

    @staticmethod
    def _kind(event: Event) -> Kind | None:
        if event.kind != "rollout.ended":
            return _KINDS.get(event.kind)
        outcome = event.data.get("outcome")
        return outcome if outcome in ("done", "reverted", "needs-attention") else None

    def _learn(self, event: Event) -> None:
        data = event.data
        if event.kind in ("traffic.changed", "rollout.paused") and "share" in data:
            self._share = int(data.get("share", self._share or 0))
        elif event.kind == "sample":
            self._answered(data)
        elif event.kind == "verdict":
            self._verdict = str(data.get("verdict", ""))
            if self._verdict == "inconclusive" and data.get("enough"):  # all that a step of fixed time asks for
                self._verdict = "no regression found"
            self._answered(data.get("watched") or {})

    def _answered(self, data: Mapping[str, Any]) -> None:
        if "candidate" in data and "stable" in data:
            self._sides = _side(data["candidate"]), _side(data["stable"])

    def _notice(self, kind: Kind, event: Event) -> Notice:
        data, facts = event.data, self._facts
        candidate, stable = self._sides
        seconds = data.get("seconds", event.at - self._facts.began)
        text = data.get("text") or f"{facts.strategy} of {facts.version} (r{facts.release}) has begun"
        if kind == "approval":  # those who are told may be anywhere
            text += f", until {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime(float(data.get('until') or event.at)))}"
        return Notice(
            kind,
            event.at,
            event.service,
            sentence(text),
            rollout=event.rollout,
            release=facts.release,
            version=facts.version,
            strategy=facts.strategy,
            by=sentence(facts.by),
            reason=sentence(facts.reason),
            share=FULL if kind == "done" and facts.served and facts.strategy not in OCCASIONS else self._share,
            verdict=self._verdict,
            candidate=candidate,
            stable=stable,
            seconds=None if kind == "started" else max(0.0, round(float(seconds), 3)),
            exit=int(data["exit"]) if "exit" in data else None,
            link=self._linked(event),
        )

    def _linked(self, event: Event) -> str:
        facts = self._facts
        known = {"service": event.service, "rollout": event.rollout, "release": facts.release, "version": facts.version}
        return fill(self._link, {name: quote(str(value), safe="") for name, value in known.items()})


def _side(data: Mapping[str, Any]) -> NoticeSide:
    return NoticeSide(int(data.get("requests") or 0), int(data.get("errors") or 0))


def sentence(text: str) -> str:
    """Return what others wrote as one line, without secrets."""
    line = " ".join(hide(str(text)).split())
    line = "".join(c for c in line if c.isprintable())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"
