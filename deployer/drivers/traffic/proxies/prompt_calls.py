"""What proxies do at once: one that can be spared, and says nothing, is not waited for longer than leases allow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, Protocol, TypeVar

from deployer.core.clock import Clock, Deadline
from deployer.model import Live
from deployer.transport.fanout import Answers, on_all, on_most

LONGEST_WAIT = 10.0  # seconds that the others wait for one that can be spared
LEASE_PART = 1 / 3  # of a lease, which is renewed each quarter of it: they wait no longer than that
OWN_PART = 0.75  # of that time, after which such a one says itself that another process holds its lock
LATER = 5.0  # seconds after that time within which a value is written, or is not: it may be brought back by then


class Readable(Protocol):
    """What has a live value."""

    def read(self, service: str, patience: float | None = None) -> Live | None:
        """Read what the proxy does now; a lock is waited for no longer than these seconds."""
        ...


M = TypeVar("M", bound=Readable)
T = TypeVar("T")
U = TypeVar("U")


class PromptCalls(Generic[M]):
    """The same work on several proxies, of which `least` are needed: the others get `wait` seconds more than these.

    One that was not heard yet is waited for like those that are needed: the way to it takes its time.
    """

    def __init__(self, members: Mapping[str, M], least: int, wait: float, clock: Clock) -> None:
        self._members, self._least, self.wait, self._clock = members, least, wait, clock
        self._heard: set[str] = set()

    def on(self, members: Mapping[str, M], work: Callable[[M], T]) -> Answers[str, T]:
        """Have these do the work; return what came of it on each."""
        return self._at_once(members, work)

    def given(self, parts: Mapping[str, U], work: Callable[[M, U], T]) -> Answers[str, T]:
        """Have some of them do the work with what is given for each."""
        return self._at_once({name: (self._members[name], part) for name, part in parts.items()}, lambda p: work(*p))

    def read(self, members: Mapping[str, M], service: str) -> Answers[str, Live | None]:
        """Read the live value of each of these."""
        return self.on(members, self.reading(service))

    def reading(self, service: str) -> Callable[[M], Live | None]:
        """Return the work that reads a live value."""
        patience = OWN_PART * self.wait if self.spares else None
        return lambda member: member.read(service, patience)

    def by(self, deadline: Deadline) -> Deadline:
        """Return the deadline of a value that is written: no late one, where one may be left out and brought back."""
        late = Deadline.after(self._clock, self.wait + LATER)
        return min(deadline, late, key=Deadline.left) if self.spares else deadline

    @property
    def spares(self) -> bool:
        """Whether one of them may be missing."""
        return self._least < len(self._members)

    def _at_once(self, parts: Mapping[str, U], work: Callable[[U], T]) -> Answers[str, T]:
        if self._least < min(len(parts), len(self._members)) and self._heard >= parts.keys():
            return on_most(parts, work, max(self._least, 1), self.wait)
        answers = on_all(parts, work, len(parts))
        self._heard |= answers.ok.keys()
        return answers


def longest_wait(lease: float) -> float:
    """Return for how many seconds others may wait for one that can be spared, so that their lease does not run out."""
    return min(LONGEST_WAIT, LEASE_PART * lease) if lease else LONGEST_WAIT
