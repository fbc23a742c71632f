"""What CI and images install is written down with hashes, and is what the project asks for."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.documents import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
ALL = REPOSITORY / "scripts" / "locked.txt"
IMAGES = {path.stem: path for path in (REPOSITORY / "deployer" / "core" / "locked").glob("*.txt")}


def locked(file: Path) -> list[tuple[Requirement, list[str]]]:
    """Return each requirement of a lock file with its hashes."""
    lines = file.read_text().replace("\\\n", " ").splitlines()
    parts = (line.split("--hash=") for line in lines if line.strip() and not line.startswith("#"))
    return [(Requirement(first.strip()), [each.strip() for each in rest]) for first, *rest in parts]


def asked(extras: Iterable[str]) -> list[Requirement]:
    groups = [PROJECT["dependencies"], *(PROJECT["optional-dependencies"][extra] for extra in extras)]
    return [r for group in groups for r in map(Requirement, group) if r.name != PROJECT["name"]]


@pytest.mark.parametrize("file", [ALL, *IMAGES.values()], ids=lambda file: file.stem)
def test_every_package_is_pinned_and_has_hashes(file: Path) -> None:
    for requirement, hashes in locked(file):
        assert [s.operator for s in requirement.specifier] == ["=="], requirement
        assert hashes, requirement
        assert all(re.fullmatch("sha256:[0-9a-f]{64}", each) for each in hashes), requirement


@pytest.mark.parametrize(
    ("file", "extras"),
    [(ALL, [*PROJECT["optional-dependencies"]]), *((p, [] if e == "base" else [e]) for e, p in IMAGES.items())],
    ids=lambda value: value.stem if isinstance(value, Path) else "",
)
def test_what_the_project_asks_for_is_locked(file: Path, extras: list[str]) -> None:
    pins: dict[str, list[str]] = {}
    for requirement, _ in locked(file):
        pins.setdefault(canonicalize_name(requirement.name), []).extend(s.version for s in requirement.specifier)
    for requirement in asked(extras):
        versions = pins.get(canonicalize_name(requirement.name))
        assert versions, f"{requirement}: run scripts/lock"
        assert all(requirement.specifier.contains(v, prereleases=True) for v in versions), f"{requirement}: {versions}"


def test_images_get_what_was_tested() -> None:
    tested = {(r.name, str(r.specifier), *hashes) for r, hashes in locked(ALL)}
    for file in IMAGES.values():
        assert {(r.name, str(r.specifier), *hashes) for r, hashes in locked(file)} <= tested, file
