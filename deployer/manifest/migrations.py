"""The section `migrate`: what changes the database for a release, and takes away what only the former one needed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from deployer.manifest.approval import Approval
from deployer.manifest.base import Conflict, Model
from deployer.manifest.hook import RolloutHook
from deployer.manifest.text import Text


class MigrationCommand(RolloutHook):
    """A playbook (`migrate.yml` alone means one) or a command: `{run: [bin/migrate], in: instance}`."""

    where: Literal["here", "instance"] = Field(
        "here",
        alias="in",
        description="`here`: on this host, in the folder of the manifest. `instance`: in a container (or process) of "
        "the release of its own, which gets no requests, started like a job.",
    )


class MigrationPart(MigrationCommand):
    """A part of a migration: a playbook or a command, and how to ask whether it was applied."""

    check: tuple[Text, ...] | None = Field(
        None,
        min_length=1,
        description="Command, run in the same place before and after; exit code 0 means that it was applied.",
    )

    @property
    def commands(self) -> dict[str, tuple[str, ...]]:
        """Its commands, by their keys."""
        return {**super().commands, "check": self.check} if self.check else super().commands

    @model_serializer(mode="wrap")
    def _short(self, write: SerializerFunctionWrapHandler) -> Any:
        """Write a playbook without a check as its path alone."""
        return self.playbook if self.playbook and not self.check else write(self)


class ContractApproval(Approval):
    """Who must approve a contract, within which time, and what happens otherwise."""


class MigrateSettings(Model):
    """What changes the database: `expand` adds what a release needs, `contract` removes what only former ones need."""

    backup: MigrationCommand | None = Field(
        None, description="Command, run before `expand` and before `contract`; what it prints last is the backup's id."
    )
    rehearse: MigrationCommand | None = Field(
        None,
        description="Run after `backup`, with the id of the backup in DEPLOYER_BACKUP: restores it into a database of "
        "its own and tries the migration there. Where it fails nothing is changed.",
    )
    expand: tuple[MigrationPart, ...] = Field(
        (), description="Before instances of the release start, once for a release; the live one must work with it."
    )
    contract: tuple[MigrationPart, ...] = Field(
        (), description="By `deploy migrate contract`, when no former release runs; none can come back then."
    )
    approve: ContractApproval | None = Field(None, description="People who must approve before `contract` runs.")

    @property
    def parts(self) -> tuple[tuple[str, RolloutHook], ...]:
        """Everything that is run, each with its place in the section."""
        once = (("backup", self.backup), ("rehearse", self.rehearse))
        named = ((f"{key}[{n}]", each) for key in ("expand", "contract") for n, each in enumerate(getattr(self, key)))
        return (*((key, each) for key, each in once if each), *named)

    @property
    def hooks(self) -> tuple[RolloutHook, ...]:
        """Everything that is run."""
        return tuple(each for _, each in self.parts)

    def conflicts(self) -> Iterator[Conflict]:
        """Yield the keys that do not go together."""
        if not self.expand and not self.contract:
            yield Conflict("", "it changes nothing", "e.g. expand: [{run: [bin/migrate]}]", ("expand", "contract"))
        if self.backup and self.backup.playbook:
            why = "a playbook prints no id by which the backup is found again"
            yield Conflict("backup", why, "a command: {run: [bin/backup]}", ("backup",))
        if self.rehearse and not self.backup:
            yield Conflict("rehearse", "there is no `backup` to restore", "backup: {run: [bin/backup]}", ("rehearse",))
        if self.approve and not self.contract:
            yield Conflict("approve", "there is no `contract`", "remove it", ("approve", "contract"))


def conflicts(migrate: MigrateSettings | None, runtime: str) -> Iterator[Conflict]:
    """Return the keys of the section that do not go with the runtime."""
    for place, each in migrate.parts if migrate else ():
        if runtime in ("ansible", "incus", "swarm") and each.where == "instance":
            at = f"migrate.{place}.in"
            why = f"runtime {runtime} starts no instances for commands"
            yield Conflict(at, why, "in: here", ("runtime", at))
