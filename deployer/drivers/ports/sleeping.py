"""What puts a service to sleep while nobody comes, and has it wake with the next request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from deployer.core.clock import Deadline
from deployer.model import Colour, Place


@dataclass(frozen=True)
class Wake:
    """What became of a start that a request caused, at a moment; `error` is empty where it succeeded.

    Of its `seconds`, `start` were for the runtime and `health` until the instance was healthy.
    """

    at: float
    seconds: float
    start: float = 0.0
    health: float = 0.0
    error: str = ""
    failed: int = 0  # starts that failed in a row, this one included
    next: float = 0.0  # before which the next one is not tried
    of: str = ""  # the instance that was started: another release has others

    def concerns(self, release: int) -> bool:
        """Return whether a start failed that was one of this release, as far as is known."""
        return bool(self.error) and (not self.of or f"-r{release}-" in self.of)

    @property
    def text(self) -> str:
        """Return it in words."""
        if not self.error:
            return f"a request woke it: it answered after {self.seconds:.2f} s"
        return f"a request came, but the service did not start: {self.error}"


class Sleeper(Protocol):
    """Stops what nobody needs, and keeps it where it can be started at once."""

    def asleep(self, service: str) -> Mapping[Place, float]:
        """Return the places whose release sleeps, and since when."""
        ...

    def attend(self, deadline: Deadline) -> None:
        """Have that run which wakes services. Raise DriverFailed where it does not."""
        ...

    def sleep(self, service: str, colour: Colour, grace: float, patience: Deadline, deadline: Deadline) -> bool:
        """Stop or pause what is in a place, and give its requests to the waker; the first one starts it again.

        Return False, leaving it awake, where somebody came meanwhile, or requests did not end within `patience`.
        """
        ...

    def wakes(self, service: str) -> tuple[Wake, ...]:
        """Return what became of the newest starts by requests, the oldest first."""
        ...
