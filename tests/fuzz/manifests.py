"""Manifests drawn from the models themselves: a key that is added to a section is fuzzed without further ado."""

from __future__ import annotations

import json
import types
from pathlib import Path
from random import Random
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from deployer.manifest.base import Model, Switchable
from deployer.manifest.models import Health, Manifest
from deployer.manifest.shape import bare, marks, section_in
from deployer.manifest.text import FilePath, Spelt
from deployer.manifest.units import Unit
from tests.fuzz.draws import HOSTILE, chance, spoilt, written

FILES = (
    "deploy.yml",
    "play.yml",
    "shop.pem",
    "ca.pem",
    "a b.pem",
    'q"x.pem',
    "p%[src].pem",
    "#.pem",
    "[x].pem",
    "é.pem",
)
NUMBERS = (0, 1, 2, 3, 10, 0.5, 0.05, 1.5, 80, 8080, 65535, 65536, 2**31, 2**63, 10**30, -1, 1e-9, 1e300, True)
UNITS = {
    "duration": ("30s", "0", 0, "1ms", "500ms", "1m", "1h30m", "24d", "25d", "1y", "100y", "999999999999999y", "0.1ms"),
    "size": ("64m", "6m", "512m", "2g", "1", "999999999999999g", 10**25),
    "percentage": ("0.1%", 0, "100%", "101%", 5, "0.000000000001%"),
    "ratio": ("1x", "1.5x", 1, "999999999999999x", 1e300),
}
STRATEGIES = ("canary", "bluegreen", "rolling", {"canary": {"steps": [5, 25]}}, {"recreate": None}, {"x": {"a": "b"}})
# Keys of a section of which one may be there
_ONE_OF = {
    "Secret": (("env", "file", "command"),),
    "Health": (("http", "tcp", "command", "docker"),),
    "Metric": (("http", "command"), ("max", "min")),
    "Auth": (("bearer", "header"),),
}
SPOIL = 0.01  # of all single values; a manifest has dozens, and about every second one is to be accepted
_FILE = next(mark for mark in marks(FilePath) if isinstance(mark, Spelt))


def prepare(folder: Path) -> None:
    """Make the files that drawn manifests may name; `shop.pem` must be a certificate with its key."""
    pem = (folder / "shop.pem").read_bytes()
    for name in FILES:
        if name != "shop.pem":
            (folder / name).write_bytes(pem if name.endswith(".pem") else b"[]")


def text_of(draw: Random) -> str:
    """Write a manifest as a file. JSON is YAML, and can hold every text that YAML can."""
    return json.dumps(manifest(draw))


def manifest(draw: Random) -> dict[str, Any]:
    """Draw a manifest: mostly right, with something hostile now and then."""
    drawn = _section(draw, Manifest)
    traffic = drawn.get("traffic")
    # Most services say where they listen; a port of their own lets many be checked in one configuration.
    if isinstance(traffic, dict) and chance(draw, 0.9):
        traffic["listen"] = f"127.0.0.1:{draw.randint(1024, 65535)}"
    return drawn


def _section(draw: Random, section: type[BaseModel]) -> dict[str, Any]:
    wanted = 0.12 if section is Manifest else 0.35
    drawn = {
        field.alias or name: _field(draw, field)
        for name, field in section.model_fields.items()
        if field.is_required() or chance(draw, wanted)
    }
    _section_agreed(draw, section, drawn)
    if chance(draw, SPOIL):
        drawn[draw.choice((*HOSTILE, "path", "Listen"))] = draw.choice((1, "x", None, [], {}))
    return drawn


def _section_agreed(draw: Random, section: type[BaseModel], drawn: dict[str, Any]) -> None:
    """Mostly keep one of the keys that shut each other out, and give what another key needs."""
    for one in _ONE_OF.get(section.__name__, ()):
        if chance(draw, 0.95):
            given = [key for key in one if key in drawn]
            for key in given[1:]:
                del drawn[key]
            if not given and section is not Health:
                drawn[one[0]] = _field(draw, section.model_fields[one[0]])
    if section is Manifest and drawn.get("runtime") == "process" and chance(draw, 0.95):
        drawn.setdefault("command", ["./run"])
        for key in ("mounts", "networks", "user", "read_only", "limits", "log"):
            drawn.pop(key, None)


def _field(draw: Random, field: FieldInfo) -> Any:
    if chance(draw, SPOIL):
        return draw.choice((None, "", "x", [], {}, 1, True, [None], {"a": {}}, *NUMBERS, *HOSTILE))
    metadata = (*field.metadata, *marks(field.annotation))
    if any(isinstance(mark, Switchable) for mark in metadata) and chance(draw, 0.3):
        return draw.choice((True, False))
    return _value(draw, field.annotation, metadata)


def _value(draw: Random, annotation: Any, metadata: tuple[Any, ...]) -> Any:
    kind = bare(annotation)
    if isinstance(kind, type) and issubclass(kind, Model):
        return _section(draw, kind)
    if get_origin(kind) is Literal:
        return draw.choice(get_args(kind))
    if get_origin(kind) is tuple:
        return [_inner(draw, get_args(kind)[0]) for _ in range(_size(draw))]
    if get_origin(kind) is dict and section_in(kind) is None and kind != dict[str, dict[str, Any]]:
        key, value = get_args(kind)
        return {str(_inner(draw, key)): _inner(draw, value) for _ in range(_size(draw))}
    if get_origin(kind) is dict:
        key, value = get_args(kind)
        return {str(_inner(draw, key)): _section(draw, section_in(value) or Manifest) for _ in range(_size(draw))}
    if get_origin(kind) in (Union, types.UnionType):
        return draw.choice(STRATEGIES)
    return _single(draw, kind, metadata)


def _inner(draw: Random, annotation: Any) -> Any:
    return _value(draw, annotation, marks(annotation))


def _size(draw: Random) -> int:
    return draw.choice((1, 1, 1, 1, 2, 3) if chance(draw, 0.97) else (8, 70, 300))


def _single(draw: Random, kind: Any, metadata: tuple[Any, ...]) -> Any:
    unit = next((mark for mark in metadata if isinstance(mark, Unit)), None)
    spelt = next((mark for mark in metadata if isinstance(mark, Spelt)), None)
    if unit:
        usual, rest = UNITS[unit.name][:1], UNITS[unit.name]
        return draw.choice(usual if chance(draw, 0.8) else rest)
    if kind is bool:
        return draw.choice((True, False))
    if kind in (int, float):
        return _number(draw, kind, metadata)
    return _text(draw, spelt)


def _number(draw: Random, kind: type, metadata: tuple[Any, ...]) -> Any:
    if chance(draw, 3 * SPOIL):
        return draw.choice(NUMBERS)
    limits = [getattr(mark, name) for mark in metadata for name in ("ge", "gt", "le", "lt") if hasattr(mark, name)]
    low, high = min(limits, default=1), max(limits, default=100)
    if kind is int:
        low, high = int(low), max(int(low) + 10, int(high))
        return draw.choice((low + 1, high - 1, draw.randint(low, high), draw.choice((low, high))))
    return draw.choice((0.05, 0.01, 0.3, 0.4, low if chance(draw, 0.1) else 0.2, high if chance(draw, 0.1) else 0.1))


def _text(draw: Random, spelt: Spelt | None) -> str:
    if spelt is _FILE:
        text = draw.choice(FILES)
    elif spelt is None:
        text = draw.choice(("", "ok", "two words", "$HOME", "{{ 1 }}", "a\nb", "é", "x" * 200))
    elif spelt.noun == "image" or chance(draw, 0.6):
        text = draw.choice(spelt.example.split(" or "))
    else:
        text = written(draw, spelt.pattern)
    text = spoilt(draw, text) if chance(draw, SPOIL) else text
    return text if chance(draw, SPOIL) else text.replace("$", "$$")  # else it begins a variable
