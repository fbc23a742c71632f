"""What the runtime `process` cannot do is refused before anything changes, never quietly left out."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from deployer.errors import Refused
from deployer.manifest.models import Log, Manifest


def check(manifest: Manifest, files: Path) -> None:
    """Raise Refused when a process on this machine cannot be what the manifest asks for; `files` is its folder."""
    problems = [*_unsupported(manifest), *_command(manifest, files)]
    if problems:
        raise Refused("; ".join(problems), "change it, or use `runtime: docker`")


def _unsupported(manifest: Manifest) -> list[str]:
    problems = []
    # setrlimit counts address space instead of memory, and processes of the user instead of those of the instance.
    if given := [name for name in ("cpus", "memory", "pids") if getattr(manifest.limits, name) is not None]:
        problems.append(f"limits.{', limits.'.join(given)}: a plain process has no limits that hold")
    if manifest.log != Log():
        problems.append("log: the log of a process is a file of at most 2 x 10 MB")
    if taken := [name for name in ("PORT", "HOST") if name in manifest.env]:
        problems.append(f"env.{', env.'.join(taken)}: each instance gets its own")
    return problems


def _command(manifest: Manifest, files: Path) -> list[str]:
    program = (manifest.command or ("",))[0]
    if "/" not in program:
        path = manifest.env.get("PATH", os.environ.get("PATH", os.defpath))
        return [] if shutil.which(program, path=path) else [f"command: {program or 'nothing'} is not on PATH"]
    place = files / program  # an absolute program stays itself
    if not place.is_file():
        return [f"command: {program} is not among the files of {manifest.image}"]
    return [] if os.access(place, os.X_OK) else [f"command: {program} is not executable"]
