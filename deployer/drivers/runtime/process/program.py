"""The program of a process must be there before anything changes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from deployer.core.errors import Refused

if TYPE_CHECKING:
    from deployer.manifest.models import Manifest


def check(manifest: Manifest, files: Path) -> None:
    """Raise Refused when `command` cannot be executed; a name with a slash is looked for among the `files`."""
    name = (manifest.command or ("",))[0]
    if "/" not in name:
        path = manifest.env.get("PATH", os.environ.get("PATH", os.defpath))
        if not shutil.which(name, path=path):
            raise Refused(
                f"command: {name or 'nothing'} is not on PATH", f"install it, or write its whole path; looked in {path}"
            )
        return
    place = files / name  # an absolute path stays itself
    if not place.is_file():
        raise Refused(f"command: {name} is not among the files of {files}", f"did you build it? {place} is missing")
    if not os.access(place, os.X_OK):
        raise Refused(f"command: {name} is not executable", f"chmod +x {place}")
