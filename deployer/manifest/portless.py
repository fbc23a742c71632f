"""A manifest without a port, a worker's: keys that are about users or requests do not go with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from deployer.manifest.base import Conflict

if TYPE_CHECKING:
    from pydantic import BaseModel

RUNNING = "5s"  # of `health.running`, where nothing else is chosen
WHY = "a service without a `port` gets no requests"
HINT = "add e.g. port: 8080, or remove it"
OF_WORKERS = frozenset({"metrics", "undecided"})  # of the section `judge`


def conflicts(traffic: BaseModel, health: BaseModel, judge: BaseModel, *, smoke: bool) -> Iterator[Conflict]:
    """Return the keys that say nothing without a port."""
    given = [
        *(f"traffic.{key}" for key in _changed(traffic)),
        *(f"health.{key}" for key in ("http", "tcp") if getattr(health, key)),
        *(["smoke"] if smoke else []),
        *(f"judge.{key}" for key in _changed(judge) if key not in OF_WORKERS),
    ]
    hints = {"health.http": "health.command, docker or running; or add e.g. port: 8080"}
    hints["health.tcp"] = hints["health.http"]
    for key in given:
        yield Conflict(key, WHY, hints.get(key, HINT), ("port", key))


def _changed(section: BaseModel) -> list[str]:
    fields = type(section).model_fields
    usual = {key: field.get_default(call_default_factory=True) for key, field in fields.items()}
    return [key for key, value in usual.items() if getattr(section, key) != value]


def with_health(data: Any) -> Any:
    """Choose `health.running` where there is neither a port nor another kind of check."""
    if not isinstance(data, dict) or data.get("port") is not None:
        return data
    health = data.get("health")
    if health is not None and not isinstance(health, dict):
        return data
    if any((health or {}).get(kind) for kind in ("http", "tcp", "command", "docker", "running")):
        return data
    return {**data, "health": {**(health or {}), "running": RUNNING}}
