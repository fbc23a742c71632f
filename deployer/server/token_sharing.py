"""Tokens of the other hosts that share the store: this server takes them soon, and refuses those that they end."""

from __future__ import annotations

from deployer.server.context import ServerContext
from deployer.server.loop import Loop

LOOK_SECONDS = 2.0
END_SECONDS = 2.0


class TokenSharing(Loop):
    """Has the same tokens here as there. While the database is gone, those that are known stand."""

    def __init__(self, desk: ServerContext) -> None:
        failed = ("tokens", "tokens cannot be shared with the other control hosts")
        super().__init__(desk.log, "tokens", failed, LOOK_SECONDS, END_SECONDS)
        self._desk = desk

    def look(self) -> None:
        """Look once."""
        self._desk.tokens.share(self._desk.stores.store())
