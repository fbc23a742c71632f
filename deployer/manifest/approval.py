"""`approve`: whose consent a rollout needs before it goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from deployer.manifest.base import Conflict, Count, Model, Switch, twice
from deployer.manifest.text import Person
from deployer.manifest.units import Wait


class Approval(Model):
    """Whose consent a rollout waits for, for how long, and what happens when it does not come."""

    by: tuple[Person, ...] = Field(
        (),
        max_length=20,
        description="Who may approve: names of tokens of the server; on the command line, of accounts.",
    )
    role: Literal["operator", "admin"] | None = Field(
        None, description="Whoever has a token of the server with this role, or one above, may approve, too."
    )
    count: Count = Field(1, ge=1, le=10, description="How many different people must approve.")
    within: Wait = Field(14400.0, ge=1, description="Time in which they must.")
    expired: Literal["revert", "hold"] = Field(
        "revert",
        description="What happens when they have not: back to stable, or `hold` until `deploy resume` asks anew.",
    )
    own: Switch = Field(False, description="Whoever started the rollout may approve it, too.")

    def conflicts(self) -> Iterator[Conflict]:
        """Give the keys that do not go together."""
        yield from twice((name.casefold() for name in self.by), "by")
        if not self.by and not self.role:
            yield Conflict("by", "nobody could approve", "name people in `by`, or a `role`", ("by", "role"))
        elif not self.role and self.count > len(self.by):
            few = f"{self.count} must approve, and only {len(self.by)} may"
            yield Conflict("count", few, "name more people in `by`, or a `role`", ("by", "role", "count"))
