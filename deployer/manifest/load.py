"""Load a manifest: read, lay the overlay over it, fill in variables, check; all problems at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from deployer.core.errors import ManifestRefused, Problem
from deployer.manifest import document, envfile, json_paths
from deployer.manifest.base import Conflict
from deployer.manifest.files import wanting
from deployer.manifest.models import Manifest
from deployer.manifest.overlay import merge, overlay_file, refuse_destination, rename
from deployer.manifest.tree import Items, Position, Scalar, Table, literal, place_of, unspell
from deployer.manifest.validate import Checked, check
from deployer.manifest.variables import substitute

FILE = "deploy.yml"


@dataclass(frozen=True)
class Loaded:
    """A manifest with where it came from: its folder (absolute), the files, the destination ("" for none)."""

    manifest: Manifest
    folder: Path
    files: tuple[Path, ...] = ()
    destination: str = ""
    tree: Table | None = field(default=None, repr=False, compare=False)

    def where(self, path: str) -> str:
        """Return where a value stands, for messages: `traffic.lease` is at `deploy.yml:12`."""
        return str(place_of(self.tree, unspell(path))) if self.tree else FILE


def at(path: Path) -> Path:
    """Return the file of a manifest that is named by itself or by its folder."""
    return path / FILE if path.is_dir() else path


def load(
    path: Path,
    *,
    destination: str = "",
    overlay: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str],
    also: Callable[[Manifest, Path], Iterable[Conflict]] = lambda _manifest, _folder: (),
) -> Loaded:
    """Load the manifest at `path` (a file, or a folder with a deploy.yml).

    `${…}` is looked up in `environ`, then in a file `.env` beside the manifest. `destination` names the overlay to lay
    over it; the service is then called `NAME-DESTINATION`, unless the overlay names it. `overlay` is another file to
    lay over it, which says what is different on this host. `overrides` come from the
    command line: keys may be dotted (`traffic.lease`), None means not given, and `${…}` in them is not filled in.
    `also` finds what other rooms know to be wrong, given the manifest and its folder. Raises ManifestRefused with all
    problems and nothing else.
    """
    file = at(path)
    problems: list[Problem] = []
    root, files = _read(file, destination, problems)
    if root is not None and overlay is not None:
        over = document.read(overlay)
        problems += over.problems
        root, files = merge(root, over.root) if over.root else None, (*files, overlay)
    if root is None:
        raise ManifestRefused(tuple(problems))
    folder = file.absolute().parent
    # A guest is read by the deployer of somebody else, whose variables are not for it.
    guest = "tenant" in root.entries
    known = envfile.Variables({} if guest else environ, folder, links=not guest)
    root = _overridden(_filled(root, known, problems), overrides or {})
    root = _secrets_by_name(root, problems)
    root = envfile.merged(root, folder, known, problems)
    problems += known.problems
    unset = [unspell(problem.path) for problem in problems if problem.path]
    checked = check(root)
    problems += [p for p in checked.problems if unspell(p.path) not in unset]
    problems += _further_problems(checked, root, folder, also)
    if problems or checked.manifest is None:
        raise ManifestRefused(_in_order(problems, files))
    return Loaded(checked.manifest, folder, files, destination, root)


def _read(file: Path, destination: str, problems: list[Problem]) -> tuple[Table | None, tuple[Path, ...]]:
    base = document.read(file)
    problems += base.problems
    if not destination:
        return base.root, (file,)
    refused = refuse_destination(file, destination)
    if refused:
        problems.append(refused)
        return None, ()
    above = overlay_file(file, destination)
    over = document.read(above)
    problems += over.problems
    if base.root is None or over.root is None:
        return None, ()
    merged = merge(base.root, over.root)
    return merged if "service" in over.root.entries else rename(merged, destination), (file, above)


def _in_order(problems: list[Problem], files: tuple[Path, ...]) -> tuple[Problem, ...]:
    """Sort by file and line, as one reads."""
    names = [file.name for file in files]

    def order(problem: Problem) -> tuple[int, int]:
        name, _, line = problem.where.rpartition(":")
        return (names.index(name), int(line)) if name in names else (len(names), 0)

    return tuple(sorted(problems, key=order))


def _filled(root: Table, environ: Mapping[str, str], problems: list[Problem]) -> Table:
    filled = substitute(root, environ, problems)
    return filled if isinstance(filled, Table) else root


def _overridden(root: Table, overrides: Mapping[str, Any]) -> Table:
    place = Position("command line")
    for dotted, value in overrides.items():
        if value is None:
            continue
        node = literal(value, place)
        for key in reversed(dotted.split(".")):
            node = Table(place, {key: node}, {key: place})
        if isinstance(node, Table):
            root = merge(root, node)
    return root


def _secrets_by_name(root: Table, problems: list[Problem]) -> Table:
    """Turn the list form of `secrets` into the long one, keeping the lines."""
    names = root.entries.get("secrets")
    if not isinstance(names, Items):
        return root
    table = Table(root.keys["secrets"], {}, {})
    for index, name in enumerate(names.items):
        if not isinstance(name, Scalar) or not isinstance(name.value, str):
            return root
        if name.text in table.entries:
            path = f"secrets[{index}]"
            problems.append(Problem(str(name.place), path, f"{name.text} is named twice", "remove one"))
        source = Scalar(name.place, name.text, False, name.written)
        table = table.put(name.text, Table(name.place, {"env": source}, {"env": name.place}), name.place)
    return root.put("secrets", table, root.keys["secrets"])


def _further_problems(
    checked: Checked, root: Table, folder: Path, also: Callable[[Manifest, Path], Iterable[Conflict]]
) -> list[Problem]:
    manifest = checked.manifest
    if manifest is None:
        return []
    known = chain(wanting(manifest, folder), json_paths.wrong(manifest), also(manifest, folder))
    found = (c for c in known if not checked.touches(unspell(c.at)))
    return [Problem(str(place_of(root, unspell(c.at))), c.at, c.message, c.hint) for c in found]
