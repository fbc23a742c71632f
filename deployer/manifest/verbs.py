"""The verbs of runtime `ansible`: playbooks that make an instance and take it away."""

from __future__ import annotations

from pathlib import Path

from deployer.core.resources import builtin

REQUIRED = ("create", "update", "start", "stop", "destroy")


def folder_of(name: str, folder: Path) -> Path:
    """Return the folder of verbs: shipped ones by their name, else a folder beside the manifest."""
    return shipped(name) or (folder / name).absolute()


def shipped(name: str) -> Path | None:
    """Return the folder of shipped verbs of this name; None for the path of somebody's own."""
    folder = builtin("playbooks") / "environments" / name
    return folder if Path(name).name == name and folder.is_dir() else None


def trouble(folder: Path) -> str:
    """Return what a folder lacks to be one of verbs; "" when it has all."""
    if not folder.is_dir():
        known = " and ".join(sorted(path.name for path in (builtin("playbooks") / "environments").iterdir()))
        return f"there is no folder {folder}, and shipped are {known}"
    return lacking(folder, *REQUIRED)


def lacking(folder: Path, *wanted: str) -> str:
    """Return which of the wanted playbooks a folder has not; "" when it has all."""
    missing = [f"{verb}.yml" for verb in wanted if not (folder / f"{verb}.yml").is_file()]
    return f"{folder} has no {', '.join(missing)}" if missing else ""
