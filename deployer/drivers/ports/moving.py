"""What starts an instance on another host at once, where its engine would take its time."""

from __future__ import annotations

from typing import Protocol

from deployer.model import Instance


class Mover(Protocol):
    """Moves instances that are stranded (`Instance.stranded`); who follows them to their new address is another."""

    def move(self, instance: Instance) -> bool:
        """Have a stranded instance started on another host; return False where it is not, or not any more."""
        ...
