"""A Compose file, read with the line of every value and checked against the schema of the Compose specification.

Compose itself is not asked: its output has no lines, and it need not be installed. What only Compose can resolve
(`extends`, `include`) is refused, with the command that resolves it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployer.core.errors import ManifestRefused, Problem
from deployer.manifest import document, tree, variables, words
from deployer.manifest.envfile import Variables
from deployer.manifest.tree import Items, Node, Position, Scalar, Table

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

NAMES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
OVERRIDES = ("compose.override.yaml", "compose.override.yml", "docker-compose.override.yml")
DEFAULT = "default"  # the network of a project, and the word for services without a profile
_RESOLVE = "`docker compose config --no-interpolate > resolved.yaml` writes one file; then --from resolved.yaml"
_EMPTY = Table(Position(""), {}, {})


@dataclass(frozen=True)
class Project:
    """A project: its services as they are written (`raw`), and with their variables filled in."""

    file: Path
    name: str
    root: Table
    raw: Table
    known: Mapping[str, str] = field(repr=False)

    @property
    def folder(self) -> Path:
        """Where the file is; its paths are relative to it."""
        return self.file.parent

    @property
    def services(self) -> dict[str, Table]:
        """The services by name."""
        found = table(self.root, "services").entries
        return {name: node for name, node in found.items() if isinstance(node, Table)}

    def place(self, *path: str | int) -> str:
        """Return file and line of a value."""
        return str(tree.place_of(self.root, path))

    def real_name(self, kind: str, key: str) -> str:
        """Return what the engine calls a network or a volume of the project."""
        given = tree.data(table(self.root, kind).entries.get(key, _EMPTY)) or {}
        if given.get("name"):
            return str(given["name"])
        return key if given.get("external") else f"{self.name}_{key}"


def table(node: Node | None, key: str) -> Table:
    """Return the mapping under a key; an empty one where there is none."""
    found = node.entries.get(key) if isinstance(node, Table) else None
    return found if isinstance(found, Table) else _EMPTY


def read(path: Path, environ: Mapping[str, str], profiles: tuple[str, ...] = ()) -> Project:
    """Read a Compose file (or the one of a folder). Raise ManifestRefused with all that is wrong with it."""
    file = _file(path)
    raw = _document(file)
    known = Variables(environ, file.parent)
    problems: list[Problem] = []
    root = _filled(raw, known, problems)
    problems += known.problems
    if not problems:
        problems += _against_schema(root)
    if not problems:
        root, problems = _chosen(root, profiles)
    if not problems:
        problems += [*_unresolved(root), *_unknown(root), *_same_ports(root)]
    if problems:
        raise refused(file, problems)
    return Project(file, _name(root, file, known), root, raw, known)


def refused(file: Path, problems: list[Problem]) -> ManifestRefused:
    """Return the refusal of a Compose file, in the order of its lines."""

    def line(problem: Problem) -> int:
        number = problem.where.rpartition(":")[2]
        return int(number) if number.isdecimal() else 0

    return ManifestRefused(tuple(sorted(problems, key=line)), what=file.name)


def _file(path: Path) -> Path:
    if path.is_dir():
        found = [path / name for name in NAMES if (path / name).is_file()]
        if not found:
            hint = f"it would be called {', '.join(NAMES[:2])} or {NAMES[3]}"
            raise refused(path, [Problem(str(path), "", "there is no Compose file in this folder", hint)])
        path = found[0]
    elif not path.is_file():
        raise refused(path, [Problem(path.name, "", f"is not there: {path}", "name the Compose file, or its folder")])
    return path.absolute()


def _document(file: Path) -> Table:
    found = document.read(file)
    problems = [replace(p, hint=p.hint if "deploy init" not in p.hint else "") for p in found.problems]
    if problems or found.root is None:
        raise refused(file, problems)
    return found.root


def _filled(raw: Table, known: Mapping[str, str], problems: list[Problem]) -> Table:
    """Fill in all variables; extensions (`x-…`) are only used by aliases, and filled in there."""

    def fill(node: Node, path: tree.Path) -> Node:
        if isinstance(node, Table):
            return replace(node, entries={k: fill(v, (*path, k)) for k, v in node.entries.items() if k[:2] != "x-"})
        if isinstance(node, Items):
            return replace(node, items=tuple(fill(v, (*path, i)) for i, v in enumerate(node.items)))
        if "$" not in node.text:
            return node
        try:
            return replace(node, text=variables.filled(node.text, known.get, bare=True))
        except variables.Unset as unset:
            hint = unset.hint
            if unset.name and unset.message.endswith("is not set"):
                hint = f"write {unset.name}=… into .env beside the file, or ${{{unset.name}:-}} for an empty text"
            problems.append(Problem(str(node.place), tree.spell(path), unset.message, hint))
            return node

    return replace(raw, entries={key: fill(value, (key,)) for key, value in raw.entries.items() if key[:2] != "x-"})


def _name(root: Table, file: Path, known: Mapping[str, str]) -> str:
    """Return the name of the project, as Compose makes it."""
    given = root.entries.get("name")
    written = given.text if isinstance(given, Scalar) else known.get("COMPOSE_PROJECT_NAME") or file.parent.name
    return re.sub(r"[^a-z0-9_-]", "", written.lower()).lstrip("_-") or "project"


# -- the schema


def _against_schema(root: Table) -> list[Problem]:
    from jsonschema import Draft7Validator

    text = files("deployer.manifest.compose").joinpath("schema", "compose-spec.json").read_text(encoding="utf-8")
    found = Draft7Validator(json.loads(text)).iter_errors(tree.data(root))
    return [_explained(root, error) for error in found]


def _explained(root: Table, error: ValidationError) -> Problem:
    from jsonschema.exceptions import best_match

    while error.context:  # of several forms, the one that fits best
        error = best_match(error.context) or error
    path = tuple(error.absolute_path)
    message, hint = _words(error)
    at = path
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        at = (*path, next(iter(_surplus(error)), ""))
    return Problem(str(tree.place_of(root, at)), tree.spell(at), message, hint)


def _surplus(error: ValidationError) -> Iterator[str]:
    known = error.schema.get("properties", {})
    patterns = tuple(error.schema.get("patternProperties", {}))
    return (key for key in error.instance if key not in known and not any(re.search(p, key) for p in patterns))


def _words(error: ValidationError) -> tuple[str, str]:
    match error.validator:
        case "additionalProperties":
            key = next(iter(_surplus(error)), "")
            meant = words.close(key, error.schema.get("properties", {}))
            return "is not a key of the Compose specification here", f"did you mean `{meant}`?" if meant else ""
        case "type":
            kinds = error.validator_value if isinstance(error.validator_value, list) else [error.validator_value]
            names = {"object": "keys with values", "array": "a list", "string": "text", "null": "empty"}
            wanted = " or ".join(names.get(kind, f"a {kind}") for kind in kinds)
            return f"must be {wanted}, not {words.kind_of(error.instance)}", ""
        case "required":
            missing = next((key for key in error.validator_value if key not in error.instance), "")
            return f"`{missing}` is missing", ""
        case "enum":
            return f"must be {' or '.join(map(str, error.validator_value))}", ""
        case "uniqueItems":
            return "names the same thing twice", "remove one"
    return f"does not fit the Compose specification ({error.validator})", ""


# -- what the schema does not say


def _chosen(root: Table, profiles: tuple[str, ...]) -> tuple[Table, list[Problem]]:
    """Leave out the services of profiles that were not chosen. Which ones run is a choice that nobody has made yet."""
    services = table(root, "services")
    problems = []
    for name, node in list(services.entries.items()):
        wanted = tree.data(node).get("profiles") if isinstance(node, Table) else None
        if not wanted:
            continue
        if not profiles:
            what = f"the service runs only with the profile {' or '.join(wanted)}"
            hint = f"--profile {wanted[0]} takes it over, too; --profile {DEFAULT} takes the services without one"
            where = tree.place_of(root, ("services", name, "profiles"))
            problems.append(Problem(str(where), f"services.{name}.profiles", what, hint))
        elif not set(profiles) & set(wanted):
            services = services.drop(name)
    return root.put("services", services, root.keys.get("services", root.place)), problems


def _unresolved(root: Table) -> Iterator[Problem]:
    if "include" in root.entries:
        yield Problem(str(root.keys["include"]), "include", "other files are not read", _RESOLVE)
    for name, node in table(root, "services").entries.items():
        if isinstance(node, Table) and "extends" in node.entries:
            path = f"services.{name}.extends"
            yield Problem(str(node.keys["extends"]), path, "services of other files are not read", _RESOLVE)


def _unknown(root: Table) -> Iterator[Problem]:
    """Find services without an image, and names of services, networks and others that are not in the file."""
    services = table(root, "services")
    if not services.entries:
        yield Problem(str(root.place), "services", "there is no service", "is this a Compose file?")
    for name, node in services.entries.items():
        if not isinstance(node, Table):
            yield Problem(str(services.keys[name]), f"services.{name}", "is empty", "give it an image or a build")
            continue
        if not {"image", "build"} & node.entries.keys():
            yield Problem(str(services.keys[name]), f"services.{name}", "has neither an image nor a build")
        for kind in ("networks", "secrets", "configs"):
            defined = {*table(root, kind).entries, *([DEFAULT] if kind == "networks" else [])}
            for key, place in _named(node.entries.get(kind)):
                if key not in defined:
                    hint = f"add it under `{kind}` at the end of the file"
                    yield Problem(str(place), f"services.{name}.{kind}", f"{key!r} is defined nowhere", hint)
        for key, place in _named(node.entries.get("depends_on")):
            if key not in services.entries:
                yield Problem(str(place), f"services.{name}.depends_on", f"there is no service {key!r}")


def _named(node: Node | None) -> Iterator[tuple[str, Position]]:
    if isinstance(node, Table):
        yield from node.keys.items()
    for item in node.items if isinstance(node, Items) else ():
        given = item.entries.get("source") if isinstance(item, Table) else item
        if isinstance(given, Scalar):
            yield given.text, given.place


def _same_ports(root: Table) -> Iterator[Problem]:
    from deployer.manifest.compose.ports import published

    taken: dict[tuple[str, int], list[tuple[str, str, Position]]] = {}  # address, service, place
    for name, node in table(root, "services").entries.items():
        for port in published(node) if isinstance(node, Table) else ():
            if not port.published:
                continue
            others = taken.setdefault((port.protocol, port.published), [])
            for ip, other, place in others:
                if other != name and (ip == port.ip or "" in (ip, port.ip)):
                    what = f"port {port.published} is published by {other}, too ({place})"
                    hint = "give one of them another port"
                    yield Problem(str(port.place), f"services.{name}.ports", what, hint)
                    break
            others.append((port.ip, name, port.place))


def overrides(project: Project) -> list[Path]:
    """Return the files that Compose would merge over this one, and that are not read here."""
    names = OVERRIDES if project.file.name in NAMES else ()
    return [project.folder / name for name in names if (project.folder / name).exists()]


def plain(node: Node | None) -> Any:
    """Return the plain data of a node, None where there is none."""
    return None if node is None else tree.data(node)
