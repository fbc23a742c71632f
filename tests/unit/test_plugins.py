"""What installed packages add to the deployer is found wherever importlib.metadata finds it."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest

from deployer.core.plugins import installed

GROUP = "deployer.test"
DECLARED = f"[console_scripts]\nnight = no_such_module:main\n\n[{GROUP}]\nacme = no_such_module:strategy\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of the path."""
    folder = tmp_path / "lib"
    folder.mkdir()
    monkeypatch.setattr(sys, "path", [str(folder), str(tmp_path / "no-such.zip")])
    return folder


def declare(folder: Path, metadata: str = "acme_night-1.0.dist-info", text: str = DECLARED) -> Path:
    info = folder / metadata
    info.mkdir()
    (info / ("PKG-INFO" if metadata.endswith("egg-info") else "METADATA")).write_text("Name: acme-night\nVersion: 1\n")
    (info / "entry_points.txt").write_text(text)
    return info


@pytest.mark.parametrize("metadata", ["acme_night-1.0.dist-info", "acme_night.egg-info"])
def test_an_entry_of_the_group_is_found_with_its_package(folder: Path, metadata: str) -> None:
    declare(folder, metadata)
    (found,) = installed(GROUP)
    assert (found.name, found.value, found.dist and found.dist.name) == (
        "acme",
        "no_such_module:strategy",
        "acme-night",
    )


def test_one_in_an_archive_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = folder / "acme.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("acme_night-1.0.dist-info/METADATA", "Name: acme-night\nVersion: 1\n")
        file.writestr("acme_night-1.0.dist-info/entry_points.txt", DECLARED)
    monkeypatch.setattr(sys, "path", [str(archive)])
    assert [found.name for found in installed(GROUP)] == ["acme"]


def test_without_one_importlib_metadata_is_not_asked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(folder, text="[console_scripts]\nnight = no_such_module:main\n")
    (folder / "broken-1.0.dist-info").write_text("a file where a folder should be")
    monkeypatch.setitem(sys.modules, "importlib.metadata", None)
    assert installed(GROUP) == ()
