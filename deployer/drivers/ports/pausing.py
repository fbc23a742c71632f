"""What pauses instances that are kept for a rollback; `Runtime.ensure` has them go on."""

from __future__ import annotations

from typing import Protocol

from deployer.core.clock import Deadline
from deployer.model import Instance


class Pauser(Protocol):
    """Pauses instances: one keeps its memory, gets no processor time, and is `paused` until it is ensured again."""

    def pause(self, instance: Instance, deadline: Deadline) -> None:
        """Pause an instance that runs; one that is paused stays so. Raise DriverFailed where it cannot be."""
        ...
