"""`approve`: whose consent a rollout needs before it goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from deployer.manifest.base import Conflict, Count, Model, Switch, twice
from deployer.manifest.text import Person
from deployer.manifest.units import Wait


class Approval(Model):
    """Who must approve a rollout, within which time, and what happens otherwise."""

    by: tuple[Person, ...] = Field(
        (),
        max_length=20,
        description="Who may approve: names of server tokens; on the command line, of accounts.",
    )
    role: Literal["operator", "admin"] | None = Field(
        None, description="Holders of a server token with this role or a higher one may approve, too."
    )
    count: Count = Field(1, ge=1, le=10, description="How many different people must approve.")
    within: Wait = Field(14400.0, ge=1, description="Time limit for the approvals.")
    expired: Literal["revert", "hold"] = Field(
        "revert",
        description="What happens after the time limit: `revert` rolls back, `hold` pauses until `deploy "
        "resume` asks again.",
    )
    own: Switch = Field(False, description="The person who started the rollout may approve it, too.")

    def conflicts(self) -> Iterator[Conflict]:
        """Yield the keys that do not go together."""
        yield from twice((name.casefold() for name in self.by), "by")
        if not self.by and not self.role:
            yield Conflict("by", "it could never be approved", "name people in `by`, or a `role`", ("by", "role"))
        elif not self.role and self.count > len(self.by):
            few = f"{self.count} must approve, and only {len(self.by)} may"
            yield Conflict("count", few, "name more people in `by`, or a `role`", ("by", "role", "count"))
