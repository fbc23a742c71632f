"""Questions about sets of services to a server."""

from __future__ import annotations

from dataclasses import dataclass

from deployer.client.calls import PATIENCE
from deployer.client.client import Client
from deployer.views.progress import SetsAnswer, SetState
from deployer.views.set_data import SetsView, SetView


@dataclass(frozen=True)
class ClientSets:
    """Asks a server about sets. Each question raises Refused for what there is not, and NoServer."""

    client: Client

    def names(self) -> tuple[str, ...]:
        """Return the names of the sets of which the token sees every service."""
        return tuple(row.name for row in self.client.ask(SetsAnswer, "/sets").sets)

    def status(self, name: str) -> SetView:
        """Return how far the newest release of a set is."""
        return self.client.ask(SetView, f"/sets/{name}")

    def history(self, name: str, limit: int = 20) -> SetsView:
        """Return the releases of a set, the newest first."""
        return self.client.ask(SetsView, f"/sets/{name}/releases", limit=limit)

    def state(self, name: str, patience: float = PATIENCE) -> SetState:
        """Return how far the newest release of a set is, with its ending."""
        return self.client.ask(SetState, f"/sets/{name}/state", patience)
