"""Policies that are tried on the command line: single keys of a section of the manifest, with their values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click
import yaml

from deployer.core.errors import ManifestRefused
from deployer.manifest.models import Manifest
from deployer.manifest.tree import Position, Table, literal
from deployer.manifest.validate import check

_STUB = {"service": "x", "image": "x", "port": 1}  # what a manifest must have besides a policy


def settings(given: Iterable[str], option: str, section: str, example: str) -> dict[str, Any]:
    """Return what KEY=VALUE says, by dotted keys that begin with the section. Raise UsageError."""
    found = {}
    for one in given:
        key, separator, value = one.partition("=")
        if not separator or not key.startswith(f"{section}."):
            raise click.UsageError(f"{option} {one}: write a key of `{section}` and its value, e.g. {example}")
        try:
            found[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise click.UsageError(f"{option} {one}: {value!r} is not a value") from None
    return found


def manifest_of(settings: Mapping[str, Any], option: str, section: Mapping[str, Any] | None = None) -> Manifest:
    """Return a manifest that has no more than these settings, over a section. Raise ManifestRefused."""
    data: dict[str, Any] = {**_STUB, **(section or {})}
    for dotted, value in settings.items():
        _put(data, dotted.split("."), value)
    tree = literal(data, Position(option))
    checked = check(tree) if isinstance(tree, Table) else None
    if checked is None or checked.problems or checked.manifest is None:
        raise ManifestRefused(tuple(checked.problems) if checked else ())
    return checked.manifest


def _put(data: dict[str, Any], path: list[str], value: Any) -> None:
    *above, last = path
    for key in above:
        if not isinstance(data.get(key), dict):
            data[key] = {}  # a section that was switched off
        data = data[key]
    data[last] = value
