"""Built-in folders, in a checkout and in an installed package."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployer.core import resources
from deployer.core.errors import DeployError


def test_a_checkout_has_its_folders_at_the_top() -> None:
    assert resources.builtin("playbooks") == Path(__file__).parents[2] / "playbooks"


def test_a_wheel_has_them_inside_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages" / "deployer"
    (package / "builtin" / "playbooks").mkdir(parents=True)
    (package.parent / "playbooks").mkdir()  # somebody else's
    monkeypatch.setattr(resources, "_PACKAGE", package)

    assert resources.builtin("playbooks") == package / "builtin" / "playbooks"


def test_a_broken_installation_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "deployer")

    with pytest.raises(DeployError, match="the built-in inventories are neither in"):
        resources.builtin("inventories")
