"""The key `strategy`: a name, or a name with its options."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import PlainValidator, WithJsonSchema

from deployer.manifest.text import Misspelt


def _strategy(value: Any) -> str | dict[str, dict[str, Any]]:
    if isinstance(value, str):
        return _name(value)
    if not isinstance(value, dict) or len(value) != 1:
        raise _UNREADABLE
    ((name, options),) = value.items()
    if not isinstance(options, dict | None):
        raise Misspelt(f"a mapping of options under {_name(name)}", _EXAMPLE)
    return {_name(name): {key: _plain(option) for key, option in (options or {}).items()}}


def _name(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[a-z][a-z0-9_-]{0,39}", value):
        raise _UNREADABLE
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bool):
        return value
    return next((kind(value) for kind in (int, float) if isinstance(value, kind)), value)


_EXAMPLE = "{canary: {steps: [5, 25, 50]}}"
_UNREADABLE = Misspelt("the name of one strategy, alone or with its options", f"canary or {_EXAMPLE}")
_NAMED: dict[str, Any] = {"type": "string", "pattern": "^[a-z][a-z0-9_-]{0,39}$", "examples": ["canary"]}
_WITH_OPTIONS: dict[str, Any] = {
    "type": "object",
    "minProperties": 1,
    "maxProperties": 1,
    "propertyNames": {"pattern": _NAMED["pattern"]},
    "additionalProperties": {"type": ["object", "null"]},
    "examples": [{"canary": {"steps": [5, 25, 50]}}],
}
Strategy = Annotated[
    str | dict[str, dict[str, Any]],
    PlainValidator(_strategy),
    WithJsonSchema({"anyOf": [_NAMED, _WITH_OPTIONS]}),
]
