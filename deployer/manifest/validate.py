"""From a tree to a Manifest, or to all of its problems at once.

pydantic checks the keys of a section that do not go together only when each of its keys is right by itself. So that a
person sees everything in one go, what is wrong is taken out and the rest is looked at again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from deployer.core.errors import Problem
from deployer.manifest.base import Conflicts, Model
from deployer.manifest.models import Manifest
from deployer.manifest.tree import Path, Table, data, node_at, place_of, spell, unspell
from deployer.manifest.words import Wrong, explain

_LOOKS = 8  # sections nest four deep; each look takes at least one section out
_STAND_INS: dict[str, Any] = {"service": "x", "image": "x"}


@dataclass
class Checked:
    """What came of it. `manifest` is only to be used without problems; `taken_out` are the paths that were wrong."""

    manifest: Manifest | None = None
    problems: list[Problem] = field(default_factory=list)
    taken_out: list[Path] = field(default_factory=list)

    def touches(self, path: Path) -> bool:
        """Return whether something that was wrong lies at, in or around the path."""
        return any(path[: len(out)] == out[: len(path)] for out in self.taken_out)


def check(root: Table) -> Checked:
    """Check a tree against the models."""
    checked = Checked()
    values = data(root)
    for _ in range(_LOOKS):
        try:
            checked.manifest = Manifest.model_validate(values)
            break
        except ValidationError as errors:
            if not _take_out(checked, root, values, errors):
                break
    return checked


def problems_of(root: Table, errors: ValidationError, model: type[Model]) -> Iterator[Problem]:
    """Yield what is wrong with a file that is no manifest, and has this model."""
    for error in errors.errors(include_url=False):
        path, context = tuple(part for part in error["loc"] if part != "[key]"), error.get("ctx", {})
        if isinstance(context.get("error"), Conflicts):
            for conflict in context["error"].found:
                at = (*path, *unspell(conflict.at))
                yield Problem(str(place_of(root, at)), spell(at), conflict.message, conflict.hint)
            continue
        wrong = Wrong(error["type"], path, context, error["input"], node_at(root, path), error["msg"], model)
        words = explain(wrong)
        yield Problem(str(place_of(root, path)), spell(path), words.message, words.hint)


def _take_out(checked: Checked, root: Table, values: dict[str, Any], errors: ValidationError) -> bool:
    """Add the problems that are new, remove from `values` what is wrong; return whether another look is worth it."""
    out: list[Path] = []
    # Unknown keys come first: one that is a misspelt key explains why that key is missing.
    for error in sorted(errors.errors(include_url=False), key=lambda e: e["type"] != "extra_forbidden"):
        path = tuple(part for part in error["loc"] if part != "[key]")
        out.append(path)
        context = error.get("ctx", {})
        if isinstance(context.get("error"), Conflicts):
            _add_conflicts(checked, root, path, context["error"])
            if not path and isinstance(context["error"].section, Manifest):
                checked.manifest = context["error"].section
        elif not checked.touches(path):
            wrong = Wrong(error["type"], path, context, error["input"], node_at(root, path), error["msg"])
            words = explain(wrong)
            checked.problems.append(Problem(str(place_of(root, path)), spell(path), words.message, words.hint))
            if words.meant and node_at(root, (*path[:-1], words.meant)) is None:
                checked.taken_out.append((*path[:-1], words.meant))
    checked.taken_out += filter(None, out)
    if () in out:  # only what spans the whole manifest is left
        return False
    for path in out:
        _remove(values, path)
    for key, stand_in in _STAND_INS.items():
        values.setdefault(key, stand_in)
    return True


def _add_conflicts(checked: Checked, root: Table, section: Path, conflicts: Conflicts) -> None:
    for conflict in conflicts.found:
        if any(checked.touches((*section, *unspell(need))) for need in conflict.needs):
            continue
        path = (*section, *unspell(conflict.at))
        checked.problems.append(Problem(str(place_of(root, path)), spell(path), conflict.message, conflict.hint))


def _remove(values: dict[str, Any], path: Path) -> None:
    """Remove what stands at the path; the list around it, so that others keep their index; or what should hold it."""
    above, holder = values, values
    for step in path[:-1]:
        inner = holder.get(str(step))
        if not isinstance(inner, dict):
            holder.pop(str(step), None)
            return
        above, holder = holder, inner
    if str(path[-1]) in holder:
        holder.pop(str(path[-1]))
    elif len(path) > 1:
        above.pop(str(path[-2]), None)
