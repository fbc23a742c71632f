"""What the doctor finds: a difference, how to fix it in words, and, where that is safe, the function that does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from deployer.store import Lock
from deployer.views.data import Finding

Level = Literal["ok", "warn", "bad"]


@dataclass(frozen=True)
class Fix:
    """What puts a difference right without taking anything from users: a sentence, and the deed.

    The deed gets the lock of the service; it raises DeployError when it cannot be done. Equal sentences are one cure.
    An `urgent` one does not wait for a rollout that nobody drives.
    """

    text: str
    do: Callable[[Lock | None], None]
    urgent: bool = False


@dataclass(frozen=True)
class Discrepancy:
    """One thing that was looked at; `what` is a service, or a part of this host."""

    level: Level
    what: str
    text: str
    remedy: str = ""
    cure: Fix | None = None

    def finding(self) -> Finding:
        """Return what is told of it."""
        return Finding(self.level, self.what, self.text, self.remedy, self.cure.text if self.cure else "")
