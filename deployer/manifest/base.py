"""What all sections of the manifest share: strictness, and keys that do not go together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Strict,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

Switch = Annotated[bool, Strict()]
Count = Annotated[int, Strict()]
Number = Annotated[float, Strict()]
Port = Annotated[Count, Field(ge=1, le=65535)]


@dataclass(frozen=True)
class Conflict:
    """Keys of a section that do not go together: the key to look at, what is wrong, and what would be right.

    `needs` names the keys it was concluded from; where one of them is itself refused, the conflict says nothing.
    """

    at: str
    message: str
    hint: str = ""
    needs: tuple[str, ...] = ()


class Conflicts(ValueError):
    """All conflicts of one section, each of whose keys is right by itself."""

    def __init__(self, section: BaseModel, found: tuple[Conflict, ...]) -> None:
        super().__init__("; ".join(f"{c.at}: {c.message}" for c in found))
        self.section = section
        self.found = found


class Model(BaseModel):
    """Strict base: unknown keys are refused, values never change, a key without a value has its default."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, data: Any) -> Any:
        return {k: v for k, v in data.items() if v is not None} if isinstance(data, dict) else data

    @model_validator(mode="after")
    def _agree(self) -> Self:
        found = tuple(self.conflicts())
        if found:
            raise Conflicts(self, found)
        return self

    def conflicts(self) -> Iterator[Conflict]:
        """Yield the keys that do not go together."""
        yield from ()


class Switchable:
    """Marks a section that `true` gives with its defaults and `false` leaves out; left out, it is None."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read and write the short forms; a release keeps `false`, since a key without a value has its default."""
        return core_schema.no_info_before_validator_function(
            _switched,
            handler(source),
            serialization=core_schema.wrap_serializer_function_ser_schema(_kept, schema=handler(source)),
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Describe it as a boolean or the section."""
        branches = [b for b in handler(schema["schema"])["anyOf"] if b != {"type": "null"}]
        return {"anyOf": [{"type": "boolean"}, *branches]}


def _switched(given: Any) -> Any:
    if given is True:
        return {}
    return None if given is False else given


def _kept(section: Any, write: Callable[[Any], Any]) -> Any:
    return False if section is None else write(section)


def twice(values: Iterable[str], at: str) -> Iterator[Conflict]:
    """Yield a conflict for each value that came before."""
    seen: set[str] = set()
    for index, value in enumerate(values):
        if value in seen:
            yield Conflict(f"{at}[{index}]", f"{value} is named twice", "remove one", (at,))
        seen.add(value)
