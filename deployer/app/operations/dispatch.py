"""The doing of an order, by the operations that people and pipelines ask for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from deployer.app import operations
from deployer.core.errors import Refused
from deployer.planning.orders import Order, RolloutResult

if TYPE_CHECKING:
    from deployer.app.operations.context import AppContext
    from deployer.app.operations.deploy_request import DeployRequest
    from deployer.core.secret import SecretText
    from deployer.manifest.base import Conflict
    from deployer.manifest.models import Manifest
    from deployer.store import Store
    from deployer.store.sets import ReleaseSet

TOGETHER = frozenset({"promote", "abort", "pause", "resume"})  # of one rollout of a set: of all


def perform(house: AppContext, order: Order) -> RolloutResult:
    """Do what is asked of a service that was deployed before; return how it ended. Raise what the operations raise.

    What would turn or end one rollout of a set is done to all of them. Raise Refused where the order is not for all.
    """
    if (group := asked_of(house, order)) is not None:
        from deployer.app.operations.control import refuse_shared

        refuse_shared(house.store, house.store.rollouts.get(_numbers(group)[order.service]), order.allowed)
        if order.action in TOGETHER:
            return perform_together(house, order, group)
    return _perform(house, order)


def perform_together(house: AppContext, order: Order, group: ReleaseSet) -> RolloutResult:
    """Do what is asked to all members of a set that are in progress; return how the set ended by that.

    It is done to their rollouts of this set, and not to what may have taken their place by then.
    """
    from deployer.app.operations.control import refuse_unpromotable
    from deployer.app.operations.sets import in_progress, together

    services = in_progress(house, group)
    if order.action == "promote":  # before anything is asked of one of them
        refuse_unpromotable(house, services, order.reason, force=order.force)
    numbers = _numbers(group)
    return together(house, group, services, lambda s: _perform(house, replace(order, service=s, number=numbers[s])))


def asked_of(house: AppContext, order: Order) -> ReleaseSet | None:
    """Return the set of which an order for one service would turn or end all rollouts; None where there is none."""
    turns = order.action in (*TOGETHER, "rollback") or order.replace or order.refuse
    return set_in_progress(house.store, order.service) if turns else None


def _numbers(group: ReleaseSet) -> dict[str, int]:
    return {member.service: member.rollout for member in group.moved}


def set_in_progress(store: Store, service: str) -> ReleaseSet | None:
    """Return the set that a service is released with at the moment; None where it is by itself."""
    rollout = store.rollouts.in_progress(service)
    return store.sets.of_rollout(rollout.number) if rollout is not None and rollout.plan.meets else None


def _perform(house: AppContext, order: Order) -> RolloutResult:
    service, reason, number = order.service, order.reason, order.number
    match order.action:
        case "promote":
            return operations.promote(house, service, reason, force=order.force, number=number)
        case "approve":
            return operations.approve(house, service, reason, refuse=order.refuse, number=number, role=order.role)
        case "abort":
            return operations.stop(house, service, reason, number=number)
        case "pause":
            return operations.pause(house, service, reason, number=number)
        case "resume":
            return operations.resume(house, service, reason, number=number)
        case "rollback":
            return operations.rollback(
                house, service, to=order.to or None, again=order.again, force=order.force, reason=reason
            )
        case "drain":
            return operations.drain_connections(house, service, reason)
        case "scale":
            from deployer.app.operations.adjust import scale

            return scale(house, service, order.instances, order.seconds, reason)
        case "contract":
            from deployer.app.operations.contract import contract

            return contract(house, service, drop=order.drop, reason=reason)
        case "evict":
            from deployer.app.operations.evict import evict_service

            return evict_service(house, service, reason, now=order.now, seconds=order.seconds)
        case "admit":
            from deployer.app.operations.evict import admit_service

            return admit_service(house, service, reason)
        case "down":
            removed = ", ".join(operations.down(house, service, reason)) or "nothing was running"
            return RolloutResult.at_once(f"{service} is down; removed: {removed}")
        case "release-lock":
            return _release_lock(house, service, reason)
        case "start" | "plan" | "run":
            raise TypeError(f"{order.action} is not for a service as it is: `LocalApp` carries it out")


def request_of(
    order: Order,
    environ: Mapping[str, str],
    *,
    overlay: Path | None = None,
    overrides: Mapping[str, Any] = MappingProxyType({}),
    secrets_in: Path | None = None,
    inside: Mapping[str, SecretText] = MappingProxyType({}),
) -> DeployRequest:
    """Read the manifest of an order, and make a request of both.

    `overlay` and `overrides` change keys of the manifest; secrets are looked for beside it, or in `secrets_in`, but for
    those that came `inside` a bundle.

    Raises ManifestRefused, and Refused when the manifest is not the one that is meant.
    """
    from deployer.manifest.load import load
    from deployer.manifest.secrets import resolve_secrets

    path = Path(order.manifest)
    if order.fingerprint:
        _refuse_other(path, order)
    above = {"version": order.version or None, **overrides}
    also = partial(wrong_with, order.tenant)
    loaded = load(path, destination=order.destination, overlay=overlay, overrides=above, environ=environ, also=also)
    if order.service and loaded.manifest.service != order.service:
        raise Refused(f"{order.manifest} is for {loaded.manifest.service}, not for {order.service}", "ask for that one")
    return operations.DeployRequest(
        loaded,
        order.strategy or loaded.manifest.strategy_name,
        order.options,
        version=order.version or None,
        message=order.reason,
        override_freeze=order.override_freeze,
        replace=order.replace,
        allowed=tuple(order.allowed),
        dirty=order.dirty,
        secrets=lambda: resolve_secrets(
            loaded.manifest, secrets_in or loaded.folder, environ, where=loaded.where, inside=inside
        ),
    )


def wrong_with(tenant: str, manifest: Manifest, folder: Path) -> Iterable[Conflict]:
    """Return what is wrong with the strategy of a manifest, which is code; none is loaded of another tenant's guest."""
    from deployer.manifest.base import Conflict
    from deployer.planning.strategy import of_manifest

    if tenant and manifest.tenant != tenant:
        return (Conflict("tenant", f"the token is for guests of {tenant}", f"tenant: {tenant}", ("tenant",)),)
    return of_manifest(manifest, folder)


def _refuse_other(path: Path, order: Order) -> None:
    from deployer.manifest.fingerprint import fingerprint

    if fingerprint(path, order.destination) != order.fingerprint:
        raise Refused(
            f"the manifest of {order.service} here, {path}, differs from yours",
            "bring yours to the server, or deploy by the server's: --service NAME, without -f",
        )


def _release_lock(house: AppContext, service: str, reason: str) -> RolloutResult:
    held = house.store.locks.break_(service, reason)
    if held is None:
        raise Refused(f"the lock of {service} is free", "`deploy status` shows what is live")
    text = f"the lock of {service} was taken from {held.owner} ({held.where}), {held.purpose}: {reason}"
    if house.store.locks.is_changing(held):
        text += f"\nit is in the middle of a change: nobody else gets the lock before that is over; {held.how_to_end()}"
    return RolloutResult.at_once(text)
