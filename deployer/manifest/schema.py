"""The JSON Schema of the manifest, made from the models, for editors and other tools.

It accepts what `load` accepts: short forms, values with units, `${VAR}` where another type is expected, keys without a
value. What keys mean together, and files, only `load` checks.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from deployer.core import files
from deployer.manifest.models import Manifest

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ID = "urn:deployer:manifest"  # of every version: it says what the schema is of, not where it is
FILE = "deploy.schema.json"  # beside the manifests whose first line names it
LINE = f"# yaml-language-server: $schema={FILE}"
_VARIABLE = {"$ref": "#/$defs/Variable"}
_NOTES = ("title", "description", "default", "examples")


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a deploy.yml."""
    made = Manifest.model_json_schema()
    sections = made.pop("$defs")
    properties = made["properties"]
    properties["secrets"] = _secrets(properties["secrets"])
    made["required"].remove("image")
    made["anyOf"] = [{"required": [key], "not": {"properties": {key: {"type": "null"}}}} for key in ("image", "build")]
    for section in (made, *sections.values()):
        for form in (section, *section.get("anyOf", ())):  # a section with a short form has two
            _open(form)
    sections["Variable"] = {
        "type": "string",
        "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*(:?[-?+].*)?\}",
        "description": "A value from the environment or .env: ${NAME}, ${NAME:-default} or ${NAME:?message}.",
    }
    identity = {"$schema": DIALECT, "$id": ID, "title": "deploy.yml"}
    return {**identity, **{key: value for key, value in made.items() if key != "title"}, "$defs": sections}


def text() -> str:
    """Return the schema as it is written to a file."""
    return json.dumps(schema(), indent=2) + "\n"


def place(folder: Path) -> bool:
    """Write the schema beside a manifest, also over that of another version; return False if the file is another's."""
    file = folder / FILE
    if file.exists() and not _is_ours(file):
        return False
    files.replace(file, text(), 0o644)
    return True


def _is_ours(file: Path) -> bool:
    try:
        there = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(there, dict) and there.get("$id") == ID


def _secrets(named: dict[str, Any]) -> dict[str, Any]:
    notes = {key: named.pop(key) for key in _NOTES if key in named}
    name = {"type": "string", "pattern": next(iter(named["patternProperties"]))}
    return {**notes, "anyOf": [{"type": "array", "items": name, "uniqueItems": True}, named]}


def _open(section: dict[str, Any]) -> None:
    """Let each key of a section take a variable, and each that is not required no value at all."""
    for name, value in section.get("properties", {}).items():
        value.pop("title", None)
        required = name in section.get("required", ())
        section["properties"][name] = _opened(value, () if required else ({"type": "null"},))


def _opened(value: dict[str, Any], more: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    """Return a schema that takes a variable wherever it does not take every text, and what `more` takes."""
    notes = {key: value[key] for key in _NOTES if key in value}
    branches = [_inside(branch) for branch in _branches(value)]
    if any(_is_narrow(branch) for branch in branches):
        branches.append(_VARIABLE)
    branches += [branch for branch in more if branch not in branches]
    return {**notes, "anyOf": branches} if len(branches) > 1 else {**notes, **branches[0]}


def _branches(value: dict[str, Any]) -> list[dict[str, Any]]:
    if "anyOf" in value:
        return [branch for inner in value["anyOf"] for branch in _branches(inner)]
    return [{key: item for key, item in value.items() if key not in _NOTES}]


def _inside(branch: dict[str, Any]) -> dict[str, Any]:
    if isinstance(branch.get("items"), dict):
        return {**branch, "items": _opened(branch["items"])}
    if "patternProperties" in branch:
        # Keys that fit no pattern would be free to be anything.
        ((pattern, entry),) = branch["patternProperties"].items()
        rest = {key: item for key, item in branch.items() if key not in ("patternProperties", "propertyNames")}
        return {**rest, "propertyNames": {"pattern": pattern}, "additionalProperties": _opened(entry)}
    if isinstance(branch.get("additionalProperties"), dict) and "propertyNames" not in branch:
        return {**branch, "additionalProperties": _opened(branch["additionalProperties"])}
    return branch


def _is_narrow(branch: dict[str, Any]) -> bool:
    """Return whether a single value takes less than every text."""
    single = branch.get("type") in ("integer", "number", "boolean") or "enum" in branch or "const" in branch
    return single or "pattern" in branch
