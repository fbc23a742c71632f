"""Releases of several services as commands ask for them: orders with a `release.yml`, and questions about sets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployer.app.operations.deploy_request import DeployRequest
from deployer.core.errors import NoSetInProgress, Refused
from deployer.engine import set_ending
from deployer.manifest.load import Loaded
from deployer.manifest.load import load as load_manifest
from deployer.manifest.release_file import LoadedSet, fingerprint
from deployer.manifest.release_file import load as load_set
from deployer.manifest.secrets import resolve_secrets
from deployer.model import SecretText
from deployer.planning.orders import Order, RolloutResult
from deployer.planning.sets import worst
from deployer.planning.steps import Approve
from deployer.views.progress import ProposedView, SetState
from deployer.views.set_data import SetMemberView, SetsView, SetView

if TYPE_CHECKING:
    from deployer.app.operations import AppContext
    from deployer.app.operations.sets import SetRequest
    from deployer.manifest.base import Conflict
    from deployer.manifest.models import Manifest
    from deployer.store import Rollout
    from deployer.store.sets import ReleaseSet, SetMember

Also = Callable[["Manifest", Path], Iterable["Conflict"]]


def carry_out(house: AppContext, order: Order, environ: Mapping[str, str], request: SetRequest | None) -> RolloutResult:
    """Carry an order for a set out; `request` is the release that it asks for, where it has been read."""
    from deployer.app.operations import dispatch, set_rollback
    from deployer.app.operations.sets import deploy_set, in_progress

    if order.action == "start":
        return deploy_set(house, request or request_of(order, environ))
    _refuse_others(order, house.store.sets.services(order.set_name))
    if order.action == "rollback":
        return set_rollback.rollback_set(house, order.set_name, again=order.again, reason=order.reason)
    if order.action not in dispatch.TOGETHER:
        raise Refused(f"{order.action} is not for a set", "ask it of each service: --service NAME")
    group = newest(house, order.set_name)
    if not in_progress(house, group):
        raise NoSetInProgress(order.set_name)
    return dispatch.perform_together(house, order, group)


def plan(house: AppContext, order: Order, environ: Mapping[str, str]) -> tuple[ProposedView, ...]:
    """Return what a release would do to each service, and change nothing."""
    from deployer.app.operations.sets import propose_set
    from deployer.app.plans import explain

    proposed = propose_set(house, request_of(order, environ))
    return tuple(ProposedView(explain(each), each.same) for each in proposed)


def request_of(order: Order, environ: Mapping[str, str], also: Also | None = None) -> SetRequest:
    """Read the files of an order. Raise ManifestRefused with all that is wrong in any of them, and `also` by this.

    Without `also`, their strategies are loaded, too.
    """
    from deployer.app.operations.dispatch import wrong_with
    from deployer.app.operations.sets import SetRequest

    also = also or partial(wrong_with, order.tenant)

    path = Path(order.manifest)
    if order.fingerprint and fingerprint(path, environ) != order.fingerprint:
        raise Refused(
            f"the files of the set {order.set_name} here, {path} and the manifests that it names, differ from yours",
            "bring yours to the server, or release by the server's: --set NAME, without -f",
        )

    def manifest(service: str, path: Path) -> Loaded:
        above = {"version": order.versions.get(service) or order.versions.get("")}
        return load_manifest(path, overrides=above, environ=environ, also=also)

    found = load_set(path, environ, manifest)
    if order.set_name != found.file.release:
        raise Refused(f"{path} is for {found.file.release}, not for {order.set_name}", "ask for that one")
    _refuse_others(order, found.file.services)
    if unknown := order.versions.keys() - found.file.services.keys() - {""}:
        known = ", ".join(found.file.services)
        raise Refused(f"{found.file.release} has no service {', '.join(sorted(unknown))}", f"it has {known}")
    requests = tuple(_request(order, found, loaded, environ) for loaded in found.services.values())
    strategy = order.strategy or found.file.strategy_name
    return SetRequest(found.file.release, requests, found.file.order, strategy, order.reason)


def _refuse_others(order: Order, services: Iterable[str]) -> None:
    """Raise Refused where a set has a service, now that it is read for the last time, that the order is not for."""
    if order.allowed and (others := sorted(set(services).difference(order.allowed))):
        raise Refused(
            f"the set {order.set_name} has {', '.join(others)}, too, which the token is not for",
            "ask somebody whose token is for all of it",
        )


def _request(order: Order, found: LoadedSet, loaded: Loaded, environ: Mapping[str, str]) -> DeployRequest:
    """Return the deploy of one service: by the strategy of the set, whatever its manifest says of one."""
    name = order.strategy or found.file.strategy_name
    options = {**found.file.strategy_options(name), **order.options}
    manifest = loaded.manifest.model_copy(update={"strategy": {name: options}})
    loaded = replace(loaded, manifest=manifest)

    def secrets() -> dict[str, SecretText]:
        return resolve_secrets(manifest, loaded.folder, environ, where=loaded.where)

    return DeployRequest(
        loaded,
        name,
        options,
        version=order.versions.get(manifest.service) or order.versions.get("") or None,
        message=order.reason,
        override_freeze=order.override_freeze,
        replace=order.replace,
        allowed=tuple(order.allowed),
        dirty=order.dirty,
        secrets=secrets,
    )


# -- questions


def newest(house: AppContext, name: str) -> ReleaseSet:
    """Return the newest set of a name. Raise Refused when there is none."""
    found = house.store.sets.of(name, 1)
    if not found:
        raise Refused(f"{name} was never released from {house.store.folder}", "`deploy release up` releases it")
    return found[0]


def asked_of(house: AppContext, order: Order) -> ReleaseSet | None:
    """Return the set of which an order for one service would turn or end all rollouts; None where there is none."""
    from deployer.app.operations import dispatch

    return dispatch.asked_of(house, order)


def number_in_progress(house: AppContext, name: str) -> int:
    """Return the number of the set in progress of a name; 0 for none."""
    from deployer.app.operations.sets import in_progress

    group = next(iter(house.store.sets.of(name, 1)), None)
    return group.number if group is not None and in_progress(house, group) else 0


def state(house: AppContext, name: str) -> SetState:
    """Return how far the newest set of a name is, from the store alone; its ending once all of its rollouts rest."""
    group, store = newest(house, name), house.store
    rollouts = [store.rollouts.get(member.rollout) for member in group.moved]
    rests = all(each.outcome for each in rollouts)
    nothing: dict[str, Any] = {"outcome": "", "exit": None, "text": ""}
    told = set_ending.told(store, group) if rests else nothing
    return SetState(
        set=group.number,
        name=group.name,
        outcome=told["outcome"],
        exit=told["exit"],
        text=told["text"],
        rollouts={each.service: each.number for each in rollouts},
        open=any(each.open for each in rollouts),
        running=any(each.open and store.locks.read(each.service) is not None for each in rollouts),
        first_event=store.events.first_id_of(min(each.number for each in rollouts)),
        last_event=max(store.events.last_id_of(each.number) for each in rollouts),
    )


def status(house: AppContext, name: str) -> SetView:
    """Return how far the newest set of a name is."""
    group = newest(house, name)
    return _view(house, group, tuple(_member(house, each, live=True) for each in group.members))


def history(house: AppContext, name: str, limit: int) -> SetsView:
    """Return the sets of a name, the newest first."""
    newest(house, name)
    groups = house.store.sets.of(name, limit)
    return SetsView(
        name, tuple(_view(house, g, tuple(_member(house, m, live=False) for m in g.members)) for g in groups)
    )


def _member(house: AppContext, member: SetMember, *, live: bool) -> SetMemberView:
    from deployer.app.queries import drivers_of, release_version

    rollout = house.store.rollouts.get(member.rollout) if member.rollout else None
    open_one = rollout if rollout and rollout.open else None
    share, step = 0, ""
    if live and open_one is not None:
        value = drivers_of(house, member.service).traffic.read(member.service)
        leased = value is not None and (not value.lease or value.lease > house.clock.now())
        share = value.share if value and leased and value.rollout == open_one.number else 0
        step = next((each.explain() for _, each in house.store.journal.left(open_one, open_one.phase)), "")
    return SetMemberView(
        service=member.service,
        release=member.release,
        version=release_version(house, member.service, member.release),
        rollout=member.rollout,
        outcome=(rollout.outcome or "") if rollout else "done",
        step=step,
        share=share,
        stable=house.store.services.get(member.service).stable,
    )


def _view(house: AppContext, group: ReleaseSet, members: tuple[SetMemberView, ...]) -> SetView:
    outcome = worst(member.outcome for member in members)
    text = f"{group.culprit}: {group.cause}" if group.decided == "back" else ""
    return SetView(
        number=group.number,
        name=group.name,
        strategy=group.strategy,
        outcome=outcome,
        decided=group.decided,
        text=text,
        started_at=group.started_at,
        by=group.started_by,
        message=group.message,
        members=members,
        live=all(member.stable == member.release for member in members),
        next=_next(house, group, outcome),
    )


def _next(house: AppContext, group: ReleaseSet, outcome: str) -> str:
    """Return which commands there are for a set that has not ended; each does what is said of it."""
    if outcome in ("done", "reverted"):
        return ""
    runs = any(house.store.locks.read(member.service) for member in group.moved)
    if group.decided:
        way = {"forward": "promoted", "back": "rolled back"}[group.decided]
        if runs:
            return f"`deploy release watch` follows it; all of it is {way}, as decided"
        return f"all of it is {way}, as decided: `deploy release resume` does the rest"
    back = "`deploy release abort` rolls all of it back"
    asked = tuple(s for s, rollout in _open(house, group) if _waits_at(house, rollout))
    if asked and outcome != "paused":
        who = ", ".join(f"`deploy approve --service {service}`" for service in asked)
        return f"{who} approves it, {back}" if runs else f"`deploy release resume` waits for approval again, {back}"
    return (
        f"`deploy release watch` follows it, {back}"
        if runs
        else f"`deploy release resume` goes on with all of it, {back}"
    )


def _open(house: AppContext, group: ReleaseSet) -> Iterator[tuple[str, Rollout]]:
    rollouts = ((member.service, house.store.rollouts.get(member.rollout)) for member in group.moved)
    return ((service, rollout) for service, rollout in rollouts if rollout.open)


def _waits_at(house: AppContext, rollout: Rollout) -> bool:
    """Return whether people have to approve what comes next."""
    step = next((step for _, step in house.store.journal.left(rollout, rollout.phase)), None)
    return isinstance(step, Approve) and bool(step.count)
