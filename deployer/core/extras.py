"""Extras of the package: how one that is missing gets into the installation that runs."""

from __future__ import annotations

import importlib.util
import sys


def how_to_add(extra: str) -> str:
    """Return what adds an extra: pip takes it from what is installed here, and asks no index for deployer itself."""
    if importlib.util.find_spec("pip") is None:
        return f"install the wheel again with [{extra}]: docs/install.md"
    return f"{sys.executable} -m pip install 'twin-deployer[{extra}]'"
