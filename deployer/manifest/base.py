"""What all sections of the manifest share: strictness, and keys that do not go together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, Strict, model_validator

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
        """Give the keys that do not go together."""
        yield from ()


def twice(values: Iterable[str], at: str) -> Iterator[Conflict]:
    """Give a conflict for each value that came before."""
    seen: set[str] = set()
    for index, value in enumerate(values):
        if value in seen:
            yield Conflict(f"{at}[{index}]", f"{value} is named twice", "remove one", (at,))
        seen.add(value)
