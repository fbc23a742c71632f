"""A private folder for one run of Ansible: short, in memory where possible, gone afterwards."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deployer.core import files
from deployer.core.short_folder import short_folder
from deployer.drivers.hosts.variables import dump, twin
from deployer.model import Environment

_ROOM = 60  # bytes that Ansible and ssh add to the folder of its control sockets

VARIABLES = "variables.yml"
_CONFIG = """\
[defaults]
forks = 20
timeout = 10
[ssh_connection]
pipelining = True
"""


@contextmanager
def workspace() -> Iterator[Path]:
    """Make the folder, readable by nobody else, with a config, and remove it whatever happens."""
    folder = short_folder(_ROOM)
    try:
        for name in ("tmp", "cp", "inventory"):
            files.folder(folder / name)
        _write(folder / "ansible.cfg", _CONFIG)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # the worker may be removing it, too


def fill(folder: Path, user: Path, environment: Environment | None, variables: Mapping[str, Any]) -> list[str]:
    """Write inventory and variables (0600); return the arguments that name the variables.

    The `group_vars` and `host_vars` beside the manifest stand beside the generated inventory, too, so that they hold
    for built-in playbooks.
    """
    _write(folder / "inventory" / "twin.yml", dump(twin(environment)))
    write_variables(folder, variables)
    for name in ("group_vars", "host_vars"):
        if (user / name).is_dir():
            (folder / "inventory" / name).symlink_to((user / name).resolve())
    return ["-e", f"@{folder / VARIABLES}"]


def write_inventory(folder: Path, inventory: Mapping[str, Any]) -> Path:
    """Write an inventory (0600); return its file."""
    return _write(folder / "inventory" / "host.yml", dump(dict(inventory)))


def write_playbook(folder: Path, plays: Sequence[Mapping[str, Any]]) -> Path:
    """Write a playbook (0600); return its file."""
    return _write(folder / "play.yml", dump([dict(play) for play in plays]))


def write_variables(folder: Path, variables: Mapping[str, Any]) -> None:
    """Write the variables of a run (0600)."""
    _write(folder / VARIABLES, dump(dict(variables)))


def forget_secrets(folder: Path) -> None:
    """Remove what Ansible has read once it plays, so that a kill -9 leaves no values behind."""
    for name in (VARIABLES, "artifacts/play/command"):  # the latter holds the environment
        (folder / name).unlink(missing_ok=True)


def _write(path: Path, text: str) -> Path:
    with os.fdopen(files.new(path), "w", encoding="utf-8") as file:
        file.write(text)
    return path
