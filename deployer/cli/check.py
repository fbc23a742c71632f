"""`deploy check`: tell whether manifests are valid, for editors, Git hooks and pipelines."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from deployer.cli.output import OUTPUTS, Output
from deployer.core.errors import Exit, ManifestRefused, Problem
from deployer.manifest import envfile
from deployer.manifest.load import FILE, load
from deployer.manifest.overlay import overlay_file
from deployer.planning.strategy import of_manifest


@dataclass(frozen=True)
class Check:
    """What came of one manifest: what is wrong in it, and which variables and files of them it needs besides."""

    file: str
    problems: tuple[Problem, ...] = ()
    unset: tuple[Problem, ...] = ()

    def text(self) -> str:
        """Return a line for each problem and each missing variable, or one that says that all is well."""
        needs = (f"{p.where}: {p.path}: needs {_lacking(p)}" for p in self.unset)
        lines = [*map(str, self.problems), *needs]
        return "\n".join(lines if self.problems else [*lines, f"{self.file}: valid"])

    def data(self) -> dict[str, object]:
        """Return the same as plain data."""
        problems, unset = ([asdict(problem) for problem in kind] for kind in (self.problems, self.unset))
        return {"file": self.file, "valid": not self.problems, "problems": problems, "unset": unset}


def _lacking(problem: Problem) -> str:
    if problem.path.startswith(envfile.KEY):
        return f"the file {problem.variable}, which is not here"
    return f"${problem.variable}, which is not set here"


@click.command("check")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE]...")
@click.option(
    "-f", "--file", "also", multiple=True, type=click.Path(path_type=Path), metavar="FILE", help="The same as FILE."
)
@click.option(
    "--environment",
    is_flag=True,
    help="Also refuse variables that are not set in this environment, and missing files of variables.",
)
@click.option(
    "--output", type=click.Choice(OUTPUTS), default="text", show_default=True, help="json: one object a line."
)
def check(files: Sequence[Path], also: Sequence[Path], environment: bool, output: Output) -> int:
    """Check manifests without asking an engine, a proxy or the state folder; exit with 2 if one is not valid.

    FILE is a manifest, or an overlay such as deploy.staging.yml, which is checked with the manifest beside it.
    """
    checks = [_checked(file, strict=environment) for file in [*files, *also] or [Path(FILE)]]
    for one in checks:
        sys.stdout.write((json.dumps(one.data()) if output == "json" else one.text()) + "\n")
    return int(Exit.REFUSED if any(one.problems for one in checks) else Exit.DONE)


def _checked(file: Path, *, strict: bool) -> Check:
    base, destination = _base(file)
    try:
        load(base, destination=destination, environ=os.environ, also=of_manifest)
    except ManifestRefused as refused:
        unset = () if strict else tuple(problem for problem in refused.problems if problem.variable)
        return Check(str(file), tuple(p for p in refused.problems if p not in unset), unset)
    return Check(str(file))


def _base(file: Path) -> tuple[Path, str]:
    """Return the manifest that a file is laid over, and as which destination; itself and "" for a manifest."""
    found = re.fullmatch(r"(.+)\.([a-z0-9-]+)(\.ya?ml)", file.name)
    base = file.with_name(found[1] + found[3]) if found else file
    if found and base.is_file() and overlay_file(base, found[2]) == file:
        return base, found[2]
    return file, ""
