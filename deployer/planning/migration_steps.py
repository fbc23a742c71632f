"""Steps that change the database for a release: backup, rehearse, expand, contract; and the end of what ran them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from deployer.planning.steps import Play, Step, span

CHECK_SECONDS = 60.0  # for a command that says whether a part of a migration was applied


@dataclass(frozen=True, kw_only=True)
class Migrate(Play):
    """A backup is made or restored for a trial, or a part of a migration is applied: by a playbook, or by a command.

    A command has a time limit, `within`. `inside` is an instance of the release of its own, which gets no requests.
    `check` is a command that says by its exit code 0 that the part was applied; it is asked before and after. Once
    `contract` has begun, no release before this one comes back.
    """

    when: Literal["backup", "rehearse", "expand", "contract"]
    check: tuple[str, ...] = ()
    within: float

    def explain(self) -> str:
        """Return in one sentence what will be so afterwards."""
        what = f"`{self.what}`" if self.run else self.what
        where = f" in an instance of r{self.release} of its own" if self.inside else " on this host" if self.run else ""
        how = f"{what}{where}, {span(self.within)} at most"
        if self.when == "backup":
            return f"back up by {how}; what it prints last is the backup's id"
        if self.when == "rehearse":
            return f"rehearse: restore that backup and try the migration on it, by {how}"
        asked = f", unless `{' '.join(self.check)}` says that it was applied" if self.check else ""
        end = f"; no release before r{self.release} can come back then" if self.when == "contract" else ""
        return f"{self.when}: run {how}{asked}{end}"


@dataclass(frozen=True, kw_only=True)
class Discard(Step):
    """Nothing is left of the instances that were started for commands of a migration; one that still runs is ended."""

    release: int

    def explain(self) -> str:
        """Return in one sentence what will be so afterwards."""
        return f"remove the instances of r{self.release} that were started for commands of the migration"
