"""A manifest as text: the keys in the order of the reference, with comments, and what was not taken over at the end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from deployer.manifest.compose.draft import Draft, Raw
from deployer.manifest.models import Manifest
from deployer.manifest.schema import LINE
from deployer.manifest.template import quoted

_WIDTH = 100  # of a line, before a list or a mapping gets a line for each entry
_ONE_EACH = frozenset({"env", "secrets", "mounts"})  # always a line for each entry


def text(draft: Draft) -> str:
    """Write the manifest."""
    source = draft.project.file.name
    lines = [
        LINE,
        f"# Service {draft.name} of {source}. `deploy plan` explains what would happen, `deploy up` does it.",
    ]
    for key in Manifest.model_fields:
        if key in draft.keys:
            if comment := draft.comments.get(key):
                lines.append(f"# {comment}")
            lines += _entry(key, draft.keys[key])
    if "health" not in draft.keys:
        served = "{http: /up}  # a path that responds when the service is ready; else an accepted connection"
        worker = "{command: [bin/check]}  # a command that succeeds when the worker is well; else it must run for 5 s"
        lines.append(f"# health: {served if 'port' in draft.keys else worker}")
    if draft.notes:
        lines += ["", f"# Not taken over from {source}:"]
        lines += [f"#   {note.where}: {note.path}: {note.message}" for note in draft.notes]
    return "\n".join(lines) + "\n"


def _entry(key: str, value: Any) -> Iterator[str]:
    short = f"{key}: {_flow(value)}"
    if not isinstance(value, dict | list) or (key not in _ONE_EACH and len(short) <= _WIDTH):
        yield short
        return
    yield f"{key}:"
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from (f"  {line}" for line in _entry(name, inner))
    else:
        yield from (f"  - {_flow(inner)}" for inner in value)


def _flow(value: Any) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{key}: {_flow(inner)}" for key, inner in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_flow, value)) + "]"
        case bool():
            return "true" if value else "false"
        case Raw():
            plain = quoted(str(value))
            return plain if plain == value else json.dumps(str(value), ensure_ascii=False)
        case str():
            return quoted(value)
        case float():
            return f"{value:g}"
    return str(value)
