"""The section `traffic.chain`: one side for a client in services that call each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, model_validator

from deployer.manifest.base import Conflict, Model, twice
from deployer.manifest.text import Name


class ChainSettings(Model):
    """Services that call each other and give a client the same side: candidate in all of them, or stable in all."""

    name: Name = Field(description="Name of the chain, the same in each of its services.")
    callers: tuple[Name, ...] = Field(
        (),
        max_length=32,
        description="Services whose requests carry the side; this one follows it. Without `callers` users come here: "
        "it draws the side, and what a client sends as one is removed.",
    )
    without_side: Literal["draw", "stable"] = Field(
        "draw",
        description="What a request gets that carries no side, where there are `callers`: `draw`, a side by this "
        "service's own share; `stable`, never the candidate.",
    )

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, data: Any) -> Any:
        return {"name": data} if isinstance(data, str) else data

    def conflicts(self) -> Iterator[Conflict]:
        """Yield the keys that do not go together."""
        yield from twice(self.callers, "callers")
        if self.without_side == "stable" and not self.callers:
            why = "without `callers` this service draws the side of every request"
            yield Conflict("without_side", why, "name its `callers`", ("without_side", "callers"))


def conflicts(service: str, chain: ChainSettings | None) -> Iterator[Conflict]:
    """Return what does not go together with the name of the service."""
    if chain and service in chain.callers:
        at = f"traffic.chain.callers[{chain.callers.index(service)}]"
        why = f"{service} is this service itself"
        yield Conflict(at, why, "name the services that call it", ("service", "traffic.chain"))
