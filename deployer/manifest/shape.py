"""What the models look like from outside: which section or field stands at a path."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from deployer.manifest.base import Model, Switchable
from deployer.manifest.models import Manifest
from deployer.manifest.tree import Path
from deployer.manifest.units import Unit


def bare(annotation: Any) -> Any:
    """Return an annotation without Annotated and without `| None`."""
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation = get_args(annotation)[0]
        elif origin in (Union, types.UnionType) and type(None) in get_args(annotation):
            rest = [arg for arg in get_args(annotation) if arg is not type(None)]
            if len(rest) != 1:
                return annotation
            annotation = rest[0]
        else:
            return annotation


def marks(annotation: Any) -> tuple[Any, ...]:
    """Return the metadata of an annotation, inside `| None` too."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return (*marks(args[0]), *args[1:])
    if origin in (Union, types.UnionType):
        return tuple(mark for arg in args for mark in marks(arg))
    return ()


def unit_of(field: FieldInfo) -> Unit | None:
    """Return the unit of a field's value, None when it has none."""
    found = (mark for mark in (*field.metadata, *marks(field.annotation)) if isinstance(mark, Unit))
    return next(found, None)


def spelt(model: Model) -> dict[str, Any]:
    """Return a section as a manifest would have it: keys by their names there, values with units, no empty ones."""
    fields = type(model).model_fields.items()
    given = {field.alias or name: _spelt(field, getattr(model, name)) for name, field in fields}
    return {key: value for key, value in given.items() if value is not None}


def _spelt(field: FieldInfo, value: Any) -> Any:
    unit = unit_of(field)
    if value is None:
        return False if any(isinstance(mark, Switchable) for mark in field.metadata) else None
    if isinstance(value, Model):
        return spelt(value)
    if isinstance(value, tuple):
        return [spelt(one) if isinstance(one, Model) else one for one in value]
    return unit.write(value) if unit else value


def section_in(annotation: Any) -> type[BaseModel] | None:
    """Return the section that a field holds, itself or as list or mapping of it."""
    kind = bare(annotation)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    inner = [arg for arg in get_args(kind) if arg is not Ellipsis]
    return section_in(inner[-1]) if get_origin(kind) in (tuple, dict) else None


def section_at(path: Path, root: type[BaseModel] = Manifest) -> type[BaseModel] | None:
    """Return the section that stands at the path."""
    section: type[BaseModel] | None = root
    steps = list(path)
    while steps and section:
        field = _field(section, str(steps.pop(0)))
        section = section_in(field.annotation) if field else None
        if section and field and get_origin(bare(field.annotation)) in (tuple, dict) and steps:
            steps.pop(0)
    return section


def field_at(path: Path, root: type[BaseModel] = Manifest) -> FieldInfo | None:
    """Return the field that stands at the path, None for an element of a list or mapping."""
    section = section_at(path[:-1], root) if path else None
    return _field(section, str(path[-1])) if section else None


def keys_of(section: type[BaseModel]) -> tuple[str, ...]:
    """Return the keys of a section as they are written in a manifest."""
    return tuple(field.alias or name for name, field in section.model_fields.items())


def _field(section: type[BaseModel], key: str) -> FieldInfo | None:
    return next((f for name, f in section.model_fields.items() if key in (f.alias, name)), None)


def sections(section: type[BaseModel] = Manifest, path: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield each section with its path, outer ones first: ("", Manifest), ("health", Health) …."""
    yield path, section
    for name, field in section.model_fields.items():
        inner = section_in(field.annotation)
        if inner:
            kind = get_origin(bare(field.annotation))
            suffix = {tuple: "[]", dict: ".NAME"}.get(kind, "") if kind else ""
            yield from sections(inner, f"{path}.{name}{suffix}".lstrip("."))


def homes(key: str) -> tuple[str, ...]:
    """Return the sections that have a key, as paths."""
    return tuple(path for path, section in sections() if path and key in section.model_fields)
