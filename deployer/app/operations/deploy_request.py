"""A deploy as somebody asks for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deployer.model import SecretText

if TYPE_CHECKING:
    from deployer.manifest.load import Loaded


@dataclass(frozen=True)
class FromBundle:
    """What a bundle brought: the id of its image ("" for a directory), which the engine has, and its Git revision."""

    image: str
    git: str


@dataclass(frozen=True)
class DeployRequest:
    """A deploy as asked for; `bundle` is where it comes from, if it comes from one.

    What it is to `replace` may be one of a set; `allowed` are the services that it may roll back so (none: all).
    """

    loaded: Loaded
    strategy: str
    options: Mapping[str, Any]
    version: str | None = None
    message: str = ""
    override_freeze: str = ""
    replace: bool = False
    allowed: tuple[str, ...] = ()
    dirty: bool = False
    secrets: Callable[[], dict[str, SecretText]] = dict
    bundle: FromBundle | None = None
