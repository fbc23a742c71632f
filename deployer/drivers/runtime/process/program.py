"""The program of a process must be there before anything changes; its secrets lie beside it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from deployer.core import files
from deployer.core.errors import DriverFailed, Refused
from deployer.drivers.runtime.environ import OfRelease, chosen_secrets

if TYPE_CHECKING:
    from deployer.manifest.models import Manifest


def check(manifest: Manifest, deployed: Path) -> None:
    """Raise Refused when `command` cannot be executed; a name with a slash is looked for in what is `deployed`."""
    name = (manifest.command or ("",))[0]
    if "/" not in name:
        path = manifest.env.get("PATH", os.environ.get("PATH", os.defpath))
        if not shutil.which(name, path=path):
            raise Refused(
                f"command: {name or 'nothing'} is not on PATH", f"install it, or write its whole path; looked in {path}"
            )
        return
    place = deployed / name  # an absolute path stays itself
    if not place.is_file():
        raise Refused(f"command: {name} is not among the files of {deployed}", f"did you build it? {place} is missing")
    if not os.access(place, os.X_OK):
        raise Refused(f"command: {name} is not executable", f"chmod +x {place}")


def check_folders(manifest: Manifest) -> None:
    """Raise DriverFailed where a folder is not there that instances write to."""
    for mount in manifest.mounts:
        if not Path(mount.source).is_dir():
            raise DriverFailed(f"mounts: there is no folder {mount.source}", f"make it: mkdir -p {mount.source}")


def secret_files(folder: Path, spec: OfRelease) -> Path:
    """Make the folder of a process, with the secrets that it gets as files; return where these are."""
    secrets = folder / "secrets"
    files.folder(secrets)
    folder.chmod(0o700)
    for name, value in chosen_secrets(spec, "file").items():
        with os.fdopen(files.new(secrets / name, 0o400), "w", encoding="utf-8") as file:
            file.write(value)
    return secrets
