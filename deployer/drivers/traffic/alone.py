"""What a traffic layer that is one proxy, or none, has to say about lost ones."""

from __future__ import annotations

from collections.abc import Collection

from deployer.core.clock import Deadline
from deployer.model import LostProxy


class Alone:
    """A traffic layer that is no group of proxies: it is there as a whole, or it is not."""

    def lost(self, service: str) -> tuple[LostProxy, ...]:
        """Return none: no rollout goes on without it."""
        return ()

    def retry_lost(self, service: str, deadline: Deadline) -> None:
        """Do nothing: none is lost."""


class AloneUpkeep:
    """What is done to one of several proxies, where there is only one."""

    def bring_back(self, service: str, deadline: Deadline) -> tuple[str, ...]:
        """Return none: there are no others that it could lag behind."""
        return ()

    def take_out(self, proxies: Collection[str], deadline: Deadline) -> int:
        """Return 0: there is no other that users could be left to."""
        return 0

    def put_back(self, proxies: Collection[str], deadline: Deadline) -> None:
        """There is nothing to put back."""
