"""`single: true`: what must never run twice is stopped before the next release starts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from deployer.manifest.base import Conflict


def with_strategy(data: Any) -> Any:
    """Choose the strategy that stops first, where none is named."""
    if isinstance(data, dict) and data.get("single") is True and data.get("strategy") is None:
        return {**data, "strategy": "recreate"}
    return data


def conflicts(strategy: str, replicas: int) -> Iterator[Conflict]:
    """Return the keys by which two instances would run at once."""
    if strategy != "recreate":
        why = f"{strategy} runs two releases at once, and `single` forbids that"
        yield Conflict("strategy", why, "strategy: recreate, or leave it out", ("strategy", "single"))
    if replicas > 1:
        why = f"{replicas} instances run at once, and `single` forbids that"
        yield Conflict("replicas", why, "remove one of them", ("replicas", "single"))
