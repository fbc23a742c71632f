"""Packages of Debian that bring files of a test."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.lab.machines.programs import call


def package(target: Path, version: str, files: Mapping[str, str]) -> None:
    """Write version `version` of the package `app` with files by their paths; busybox installs it, too."""
    with tempfile.TemporaryDirectory() as made:
        root = Path(made) / "app"
        said = {"Package": "app", "Version": version, "Architecture": "all", "Maintainer": "lab", "Description": "lab"}
        control = "".join(f"{key}: {value}\n" for key, value in said.items())
        for name, text in {"DEBIAN/control": control, **files}.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        root.chmod(0o755)
        call("dpkg-deb", "--build", "--root-owner-group", "-Zgzip", root, target)
