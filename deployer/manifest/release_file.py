"""`release.yml`: services that are released together, each by its own manifest as it is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator

from deployer.core.errors import ManifestRefused, Problem
from deployer.manifest import document, envfile
from deployer.manifest.base import Conflict, Model
from deployer.manifest.fingerprint import fingerprint as file_fingerprint
from deployer.manifest.load import Loaded, at
from deployer.manifest.strategy import Strategy
from deployer.manifest.tree import Table, data, place_of, spell
from deployer.manifest.validate import problems_of
from deployer.manifest.variables import substitute

FILE = "release.yml"
_NAME = r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$"
Name = Annotated[str, Field(pattern=_NAME)]
Load = Callable[[str, Path], Loaded]  # of the manifest of a service; raises ManifestRefused


class ReleaseFile(Model):
    """The keys of `release.yml`."""

    release: Name = Field(description="Name of the set.", examples=["shop"])
    services: dict[Name, str] = Field(
        min_length=2, description="Each service with its manifest: a file, or a folder with a deploy.yml."
    )
    order: tuple[tuple[Name, ...], ...] = Field(
        (), description="Groups that get users one after the other; without, all get them at once."
    )
    strategy: Strategy = Field("canary", description="Strategy of `deploy release up` for all, with its options.")

    @field_validator("order", mode="before")
    @classmethod
    def _single(cls, given: Any) -> Any:
        """Take a name for a group of one."""
        return [[each] if isinstance(each, str) else each for each in given] if isinstance(given, list) else given

    def conflicts(self) -> Iterator[Conflict]:
        """Yield the keys that do not go together."""
        seen: dict[str, str] = {}
        for n, group in enumerate(self.order):
            for i, name in enumerate(group):
                at = f"order[{n}][{i}]"
                if name not in self.services:
                    known = ", ".join(self.services)
                    yield Conflict(at, f"{name} is not one of the services", f"these are: {known}", ("services",))
                elif name in seen:
                    before = f"{name} would come before itself: it is {seen[name]}, too"
                    yield Conflict(at, before, "name each service once")
                seen.setdefault(name, at)
        if self.order and (left := [name for name in self.services if name not in seen]):
            yield Conflict("order", f"{', '.join(left)} is in no group", "name every service", ("services",))

    @property
    def strategy_name(self) -> str:
        """Name of the strategy that `deploy release up` uses."""
        return self.strategy if isinstance(self.strategy, str) else next(iter(self.strategy))

    def strategy_options(self, name: str) -> dict[str, Any]:
        """Return the options that it gives to a strategy."""
        return dict(self.strategy.get(name, {})) if isinstance(self.strategy, dict) else {}


@dataclass(frozen=True)
class LoadedSet:
    """A `release.yml` with the manifests of its services, by service."""

    file: ReleaseFile
    services: Mapping[str, Loaded]


def read(path: Path, environ: Mapping[str, str]) -> ReleaseFile:
    """Read a `release.yml`, or that of a folder. Raise ManifestRefused with all of its problems."""
    return _checked(path, _tree(path, environ))


def fingerprint(path: Path, environ: Mapping[str, str]) -> str:
    """Return the SHA-256 of a `release.yml` and of the manifests that it names. Raise Refused."""
    file, services = _file(path), read(path, environ).services
    manifests = (at(file.absolute().parent / services[name]) for name in sorted(services))
    return hashlib.sha256("".join(map(file_fingerprint, (file, *manifests))).encode()).hexdigest()


def load(path: Path, environ: Mapping[str, str], manifest: Load) -> LoadedSet:
    """Read a `release.yml` and the manifests that it names. Raise ManifestRefused with the problems of all of them."""
    root = _tree(path, environ)
    release = _checked(path, root)
    folder, problems, loaded = _file(path).absolute().parent, list[Problem](), dict[str, Loaded]()
    for name, where in release.services.items():
        at = ("services", name)
        try:
            found = manifest(name, folder / where)
        except ManifestRefused as refused:
            problems += [_of(name, problem) for problem in refused.problems]
            continue
        if found.manifest.service != name:
            said = f"{where} is the manifest of {found.manifest.service}, not of {name}"
            problems.append(Problem(str(place_of(root, at)), spell(at), said, "name the service as its manifest does"))
        loaded[name] = found
    if problems:
        raise ManifestRefused(tuple(problems), release.release)
    return LoadedSet(release, loaded)


def _of(service: str, problem: Problem) -> Problem:
    return Problem(f"{service}: {problem.where}", problem.path, problem.message, problem.hint, problem.variable)


def _file(path: Path) -> Path:
    return path / FILE if path.is_dir() else path


def _tree(path: Path, environ: Mapping[str, str]) -> Table:
    file = _file(path)
    read, problems = document.read(file), list[Problem]()
    if read.root is None or read.problems:
        raise ManifestRefused(tuple(read.problems), file.name)
    known = envfile.Variables(environ, file.absolute().parent)
    filled = substitute(read.root, known, problems)
    problems += known.problems
    if problems or not isinstance(filled, Table):
        raise ManifestRefused(tuple(problems), file.name)
    return filled


def _checked(path: Path, root: Table) -> ReleaseFile:
    try:
        return ReleaseFile.model_validate(data(root))
    except ValidationError as errors:
        raise ManifestRefused(tuple(problems_of(root, errors, ReleaseFile)), _file(path).name) from None
