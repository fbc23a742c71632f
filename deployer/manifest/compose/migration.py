"""A whole project: a manifest for each service with users or work, what stays with Compose, and what to type next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployer.core.errors import Problem, Refused
from deployer.manifest import document, envfile
from deployer.manifest.compose import jobs, placement, writing
from deployer.manifest.compose import project as projects
from deployer.manifest.compose.draft import Draft
from deployer.manifest.compose.project import Project
from deployer.manifest.compose.reaching import networks_of
from deployer.manifest.compose.services import translate
from deployer.manifest.files import wanting
from deployer.manifest.load import FILE
from deployer.manifest.tree import Table, unspell
from deployer.manifest.validate import check
from deployer.manifest.variables import substitute

_REQUIRED = frozenset({"service", "image", "port"})
PAGE = "docs/from-compose.md"
_LOOKS = 20  # each takes a key out


@dataclass(frozen=True)
class Left:
    """A service that stays with Compose: where it is in the file, why, and how instances reach it."""

    name: str
    where: str
    why: str
    reach: str


@dataclass(frozen=True)
class Taken:
    """A service that was taken over: its manifest, and where it is in the Compose file."""

    name: str
    where: str
    file: Path
    text: str
    notes: tuple[Problem, ...]


@dataclass(frozen=True)
class Migration:
    """What becomes of a project. Nothing is written yet."""

    project: str
    source: Path
    taken: tuple[Taken, ...]
    left: tuple[Left, ...]
    notes: tuple[Problem, ...]
    steps: tuple[str, ...]  # commands and comments, in order


def migrate(
    path: Path, environ: Mapping[str, str], *, only: str = "", profiles: tuple[str, ...] = (), name: str = FILE
) -> Migration:
    """Make the manifests of a Compose file, or of its one service `only`; `name` is that of a single manifest's file.

    Raise ManifestRefused for a file that is wrong or that has to be resolved first, and Refused where no service of it
    can be taken over.
    """
    project = projects.read(path, environ, profiles)
    if only and only not in project.services:
        raise Refused(f"{project.file.name} has no service {only}", f"it has {', '.join(project.services)}")
    reasons = {each: _why_left(project, each, only) for each in project.services}
    chosen = placement.ordered(project, tuple(each for each, why in reasons.items() if not why))
    if not chosen:
        told = "; ".join(f"{each} ({project.place('services', each)}): {why}" for each, why in reasons.items() if why)
        raise Refused(f"no service of {project.file.name} can be taken over: {told}", f"see {PAGE}")
    taken = tuple(_taken(project, each, name if len(chosen) == 1 else f"{each}.{FILE}") for each in chosen)
    left = tuple(_left(project, each, why, chosen) for each, why in reasons.items() if why)
    notes = (*_of_the_file(project), *jobs.left_out(project, chosen))
    return Migration(project.name, project.file, taken, left, notes, _steps(project, taken, left))


def _why_left(project: Project, name: str, only: str) -> str:
    if only:
        return placement.cannot(project, name) if name == only else "it was not asked for"
    return placement.stays(project, name)


def _taken(project: Project, name: str, file: str) -> Taken:
    draft = translate(project, name)
    _drop_unfit(draft)
    return Taken(name, project.place("services", name), project.folder / file, writing.text(draft), tuple(draft.notes))


def _drop_unfit(draft: Draft) -> None:
    """Take out, and note, what a manifest cannot have. Raise ManifestRefused where nothing can do without it."""
    for _ in range(_LOOKS):
        problems = _problems(draft)
        if not problems:
            return
        fatal = [problem for problem in problems if not _may_go(problem)]
        if fatal:
            raise projects.refused(draft.project.file, [_here(draft, problem) for problem in fatal])
        for problem in problems:
            draft.note(f"{problem.path}: {problem.message}")
            _drop(draft.keys, unspell(problem.path))
    raise projects.refused(draft.project.file, [_here(draft, problem) for problem in _problems(draft)])


def _problems(draft: Draft) -> list[Problem]:
    """Return what would be refused of the manifest, as `load` would find it."""
    read = document.parse(FILE, writing.text(draft))
    problems = list(read.problems)
    if read.root is None:
        return problems
    root = substitute(read.root, draft.project.known, problems)
    if not isinstance(root, Table):
        return problems
    root = envfile.merged(root, draft.project.folder, draft.project.known, problems)
    checked = check(root)
    problems += checked.problems
    if checked.manifest and not problems:
        found = wanting(checked.manifest, draft.project.folder)
        problems += [Problem(FILE, conflict.at, conflict.message, conflict.hint) for conflict in found]
    return problems


def _may_go(problem: Problem) -> bool:
    """Return whether a service can do without it: not without what it needs, nor where a file of variables is wrong."""
    first = unspell(problem.path)[:1]
    return bool(first) and problem.where.startswith(FILE) and first[0] not in {*_REQUIRED, "build", "env_file"}


def _here(draft: Draft, problem: Problem) -> Problem:
    """Return a problem of the manifest as one of the Compose file."""
    if not problem.where.startswith(FILE):
        return problem
    path = ("services", draft.name, *unspell(problem.path))
    return Problem(draft.project.place(*path), f"services.{draft.name}.{problem.path}", problem.message, problem.hint)


def _drop(keys: dict[str, Any], path: tuple[str | int, ...]) -> None:
    holder: Any = keys
    for part in path[:-1]:
        inner = holder.get(part) if isinstance(holder, dict) else None
        if not isinstance(inner, dict | list):
            break
        holder = inner
    try:
        del holder[path[-1]]
    except (KeyError, IndexError, TypeError):
        keys.pop(str(path[0]), None)


def _left(project: Project, name: str, why: str, chosen: tuple[str, ...]) -> Left:
    ours = {key for each in chosen for key in networks_of(project, each)}
    shared = [project.real_name("networks", key) for key in networks_of(project, name) if key in ours]
    reach = f"instances reach it as {name} in the network {shared[0]}" if shared else ""
    return Left(name, project.place("services", name), why, reach)


def _of_the_file(project: Project) -> tuple[Problem, ...]:
    """Note what the file says besides its services and what they use."""
    notes = []
    for file in projects.overrides(project):
        notes.append(Problem(file.name, "", f"is not read: `docker compose` merges it over {project.file.name}"))
    for key, node in projects.table(project.root, "networks").entries.items():
        for what in node.entries if isinstance(node, Table) else ():
            if what not in ("name", "external"):
                where = project.place("networks", key, what)
                notes.append(Problem(where, f"networks.{key}.{what}", "Compose makes the network: it stays with it"))
    return tuple(notes)


def _steps(project: Project, taken: tuple[Taken, ...], left: tuple[Left, ...]) -> tuple[str, ...]:
    compose = "docker compose" if project.file.name in projects.NAMES else f"docker compose -f {project.file.name}"
    first = placement.jobs(project)
    replaced = (placement.PROXY, placement.SCHEDULER)
    running = [each.name for each in left if each.why not in replaced and each.name not in first]
    made = {key for name in running for key in networks_of(project, name)}
    wanted = dict.fromkeys(key for each in taken for key in _shared_networks(project, each.name) if key not in made)
    steps = [f"docker network create {project.real_name('networks', key)}" for key in wanted]
    if running:
        steps.append(f"{compose} up -d --no-deps {' '.join(running)}")
    steps += [f"{compose} run --rm {name}" for name in first if any(each.name == name for each in left)]
    ours = " ".join([each.name for each in taken] + [each.name for each in left if each.why in replaced])
    steps.append(f"{compose} stop {ours}  # while it runs it holds the port; without a gap: see {PAGE}")
    for each in taken:
        option = "" if each.file.name == FILE else f" -f {each.file.name}"
        steps += [f"deploy plan{option}", f"deploy up{option}"]
    if any("\nschedule:" in each.text for each in taken):
        steps.append("deploy serve  # or a timer: it runs the jobs, see docs/jobs.md")
    return tuple(steps)


def _shared_networks(project: Project, name: str) -> list[str]:
    others = {key for other in project.services if other != name for key in networks_of(project, other)}
    given = projects.plain(project.root.entries.get("networks")) or {}
    return [k for k in networks_of(project, name) if k in others and not (given.get(k) or {}).get("external")]
