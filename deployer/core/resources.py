"""Where the strategies, playbooks and inventories that come with the deployer are."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from deployer.core.errors import DeployError

Kind = Literal["strategies", "playbooks", "inventories"]
_PACKAGE = Path(__file__).resolve().parents[1]


def builtin(kind: Kind) -> Path:
    """Return the folder: inside the package when it was installed from a wheel, else at the top of the repository."""
    for folder in (_PACKAGE / "builtin" / kind, _PACKAGE.parent / kind):
        if folder.is_dir():
            return folder
    raise DeployError(f"the built-in {kind} are neither in {_PACKAGE} nor beside it", "install deployer again")
