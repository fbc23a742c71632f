"""What is run around a rollout: a playbook, or a command on this host or in an instance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import (
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from pydantic_core import CoreSchema

from deployer.manifest.base import Conflict, Model
from deployer.manifest.text import FilePath, Text
from deployer.manifest.units import Wait

LONGEST = 1800.0  # of a command, unless `within` says otherwise: as for a playbook


class RolloutHook(Model):
    """A playbook (`migrate.yml` alone means one) or a command: `{run: [bin/check]}`."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    playbook: FilePath | None = Field(None, description="Playbook, relative to the manifest, or a built-in one.")
    run: tuple[Text, ...] | None = Field(
        None, min_length=1, description="Command, without a shell; exit code 0 means success."
    )
    where: Literal["here", "instance"] = Field(
        "here",
        alias="in",
        description="`here`: on this host, in the folder of the manifest. `instance`: in one of the new instances.",
    )
    within: Wait = Field(LONGEST, gt=0, description="Time limit of the command; then it has failed.")

    @model_validator(mode="before")
    @classmethod
    def _bare_playbook(cls, data: Any) -> Any:
        return {"playbook": data} if isinstance(data, str) else data

    @model_serializer(mode="wrap")
    def _short(self, write: SerializerFunctionWrapHandler) -> Any:
        """Write a playbook as its path alone."""
        return self.playbook if self.playbook else write(self)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Describe it as a path or the section."""
        section = handler(schema)
        path = handler.resolve_ref_schema(section)["properties"]["playbook"]["anyOf"][0]
        return {"anyOf": [path, section]}

    def conflicts(self) -> Iterator[Conflict]:
        """Yield the keys that do not go together."""
        if bool(self.playbook) == bool(self.run):
            wrong = "there is a `playbook` already" if self.playbook else "says nothing"
            example = "e.g. run: [bin/check], or the path of a playbook"
            yield Conflict("run" if self.playbook else "", wrong, example, ("playbook", "run"))
        elif self.playbook and self.where == "instance":
            yield Conflict("in", "a playbook says itself where it runs", "remove it", ("playbook", "in"))
        elif self.playbook and self.within != LONGEST:
            yield Conflict("within", "only a command (`run`) has a time limit of its own", "remove it", ("playbook",))

    @property
    def commands(self) -> dict[str, tuple[str, ...]]:
        """Its commands, by their keys."""
        return {"run": self.run} if self.run else {}

    @property
    def programs(self) -> dict[str, str]:
        """The paths of the programs that it runs on this host, by their keys; others are found by `PATH`."""
        here = self.commands if self.where == "here" else {}
        return {key: words[0] for key, words in here.items() if "/" in words[0]}

    @property
    def name(self) -> str:
        """The playbook, or the command as one would type it."""
        return self.playbook or " ".join(self.run or ())
