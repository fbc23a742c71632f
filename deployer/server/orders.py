"""What a client wants to be done, as plain data, and the doing of it by the operations of the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from deployer import operations
from deployer.errors import Exit, Refused
from deployer.manifest.load import load
from deployer.manifest.secrets import resolve_secrets
from deployer.operations import Ending, House, Request

Action = Literal["start", "approve", "promote", "abort", "pause", "resume", "rollback", "down", "release-lock"]


@dataclass(frozen=True)
class Order:
    """One thing to be done with a service; the other fields belong to the actions that take them.

    `start` takes the manifest (a path of the server's) with its destination, the strategy ("" for the manifest's), and
    what `deploy STRATEGY` takes; `rollback` takes `to` (0: the last good release) and `force`, which `promote`
    takes, too; `approve` takes `refuse`, the `number` of the rollout (0: whichever) and the `role` of who says so.
    """

    action: Action
    service: str
    reason: str = ""
    manifest: str = ""
    destination: str = ""
    strategy: str = ""
    version: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    replace: bool = False
    override_freeze: str = ""
    to: int = 0
    force: bool = False
    refuse: bool = False
    number: int = 0
    role: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Give plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_dict` gave. Raises TypeError for other fields."""
        return cls(**data)


def perform(house: House, order: Order, environ: Mapping[str, str]) -> Ending:
    """Do it; give how it ended. Raises what the operations raise."""
    service, reason = order.service, order.reason
    match order.action:
        case "start":
            return operations.deploy(house, _request(order, environ))
        case "promote":
            return operations.promote(house, service, reason, force=order.force)
        case "approve":
            number, role = order.number or None, order.role
            return operations.approve(house, service, reason, refuse=order.refuse, number=number, role=role)
        case "abort":
            return operations.stop(house, service, reason)
        case "pause":
            return operations.pause(house, service, reason)
        case "resume":
            return operations.resume(house, service, reason)
        case "rollback":
            return operations.rollback(house, service, to=order.to or None, force=order.force, reason=reason)
        case "down":
            removed = ", ".join(operations.down(house, service, reason)) or "nothing was running"
            return Ending("done", Exit.DONE, f"{service} is down; removed: {removed}", 0)
        case "release-lock":
            held = house.store.locks.break_(service, reason)
            if held is None:
                raise Refused(f"nobody alive holds the lock of {service}", "the status shows what is live")
            text = f"the lock of {service} was taken from {held.owner} ({held.where}): {held.purpose}"
            return Ending("done", Exit.DONE, text, 0)


def _request(order: Order, environ: Mapping[str, str]) -> Request:
    overrides = {"version": order.version or None}
    loaded = load(Path(order.manifest), destination=order.destination, overrides=overrides, environ=environ)
    if loaded.manifest.service != order.service:
        raise Refused(
            f"{order.manifest} is about {loaded.manifest.service} now, not about {order.service}", "ask for that one"
        )
    return Request(
        loaded,
        order.strategy or loaded.manifest.strategy_name,
        order.options,
        version=order.version or None,
        message=order.reason,
        override_freeze=order.override_freeze,
        replace=order.replace,
        secrets=lambda: resolve_secrets(loaded.manifest, loaded.folder, environ, where=loaded.where),
    )
