"""Routes of sets: several services that are released together. A token must be for every one of them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query

from deployer.app import sets
from deployer.planning.orders import Action, Order
from deployer.planning.sets import worst
from deployer.server.command_routes import (
    Giving,
    limited,
    ordered,
    refuse_for_others,
    refuse_freeze,
    refuse_other,
    responses,
)
from deployer.server.context import ServerContext
from deployer.server.guard import Caller
from deployer.server.messages import (
    SetBack,
    SetDeploy,
    SetRequestBody,
    SetStart,
    missing,
    run_answer,
)
from deployer.server.rights import AtDesk, By, OperatedSet, SeenSet, SetMembers, members_of, released
from deployer.views.progress import RunAnswer, SetRow, SetsAnswer, SetState
from deployer.views.set_data import SetsView, SetView

Limit = Annotated[int, Query(ge=1, le=1000, description="How many, the newest first.")]
look = APIRouter(tags=["look"])
act = APIRouter(tags=["act"], responses=responses)


# -- questions


@look.get("/sets")
def all_sets(desk: AtDesk, caller: By) -> SetsAnswer:
    """List the sets that were released, and of which the token is for every service."""
    store, rows = desk.stores.store(), []
    for name in store.sets.names():
        if not all(map(caller.token.sees, members_of(desk, name).services)):
            continue
        newest = store.sets.of(name, 1)[0]
        outcome = worst(store.rollouts.get(member.rollout).outcome or "" for member in newest.moved)
        services = tuple(member.service for member in newest.members)
        rows.append(SetRow(name, newest.number, newest.strategy, outcome, services))
    return SetsAnswer(tuple(rows))


@look.get("/sets/{set}")
def status(desk: AtDesk, members: SeenSet) -> SetView:
    """Show how far the newest release of a set is: each service, what it waits for, and who was the cause."""
    with desk.app() as app:
        return app.sets.status(released(members))


@look.get("/sets/{set}/releases")
def history(desk: AtDesk, members: SeenSet, limit: Limit = 20) -> SetsView:
    """List the releases of a set, the newest first."""
    with desk.app() as app:
        return app.sets.history(released(members), limit)


@look.get("/sets/{set}/state")
def state(desk: AtDesk, members: SeenSet) -> SetState:
    """Return how far the newest release of a set is, from the store alone: whoever follows one may ask it often."""
    with desk.app() as app:
        return sets.state(app.context, released(members))


@look.get("/sets/{set}/runs/{run}")
def run(desk: AtDesk, members: SeenSet, run: str) -> RunAnswer:
    """Return how far an order for a set is that was given by this API."""
    found = desk.runner.read("", run)
    if found is None or found.order.set_name != members.name:
        raise missing(f"there is no run {run[:40]!a} of the set {members.name}")
    return run_answer(found)


# -- orders


@act.post("/sets/{set}/releases")
async def start(desk: AtDesk, caller: By, members: OperatedSet, wanted: SetStart, give: Giving) -> RunAnswer:
    """Release all services of a set, as `deploy release STRATEGY` does, by the files that this server has of it."""
    refuse_freeze(caller, wanted.override_freeze)
    order = replace(
        await _deploy(desk, "start", members, wanted),
        reason=wanted.reason,
        replace=wanted.replace,
        override_freeze=wanted.override_freeze,
    )
    return await _ordered(desk, caller, order, wanted.set, give)


@act.post("/sets/{set}/plan")
async def plan(desk: AtDesk, caller: By, members: OperatedSet, wanted: SetDeploy, give: Giving) -> RunAnswer:
    """Show what a release of a set would do to each service: nothing is changed, but the images are fetched."""
    return await _ordered(desk, caller, await _deploy(desk, "plan", members, wanted), None, give)


async def _deploy(desk: ServerContext, action: Action, members: SetMembers, wanted: SetDeploy) -> Order:
    found = await asyncio.to_thread(desk.release_file, members.name)
    if found is None:
        raise missing(
            f"this server has no release file of the set {members.name}", "start it with `deploy serve -f release.yml`"
        )
    return Order(
        action,
        set_name=members.name,
        manifest=str(found[0].path),
        fingerprint=wanted.fingerprint,
        strategy=wanted.strategy,
        versions=wanted.versions,
        options=wanted.options,
        dirty=wanted.dirty,
    )


@act.post("/sets/{set}/promote")
async def promote(desk: AtDesk, caller: By, members: OperatedSet, wish: SetRequestBody, give: Giving) -> RunAnswer:
    """Promote all services now, without waiting for the remaining analysis steps."""
    return await _wished(desk, caller, "promote", members, wish, give)


@act.post("/sets/{set}/abort")
async def abort(desk: AtDesk, caller: By, members: OperatedSet, wish: SetRequestBody, give: Giving) -> RunAnswer:
    """Abort the release in progress: the users of all services return to stable."""
    return await _wished(desk, caller, "abort", members, wish, give)


@act.post("/sets/{set}/pause")
async def pause(desk: AtDesk, caller: By, members: OperatedSet, wish: SetRequestBody, give: Giving) -> RunAnswer:
    """Pause all services at their current share."""
    return await _wished(desk, caller, "pause", members, wish, give)


@act.post("/sets/{set}/resume")
async def resume(desk: AtDesk, caller: By, members: OperatedSet, wish: SetRequestBody, give: Giving) -> RunAnswer:
    """Continue a release of all services that is paused, or whose process is gone."""
    return await _wished(desk, caller, "resume", members, wish, give)


@act.post("/sets/{set}/rollback")
async def rollback(desk: AtDesk, caller: By, members: OperatedSet, wanted: SetBack, give: Giving) -> RunAnswer:
    """Return all services to what they had before the release that is live; one in progress is rolled back."""
    released(members)
    order = Order("rollback", set_name=members.name, reason=wanted.reason, again=wanted.again)
    return await _ordered(desk, caller, order, wanted.set, give)


async def _wished(
    desk: ServerContext, caller: Caller, action: Action, members: SetMembers, wish: SetRequestBody, give: Giving
) -> RunAnswer:
    order = Order(action, set_name=released(members), reason=wish.reason)
    return await _ordered(desk, caller, order, wish.set, give)


async def _ordered(desk: ServerContext, caller: Caller, order: Order, wanted: int | None, give: Giving) -> RunAnswer:
    """Submit an order for a set; a caller that names one that is in progress has decided about that one."""

    def allowed() -> None:
        if wanted is not None:
            with desk.house() as house:
                number = sets.number_in_progress(house, order.set_name)
            refuse_other("set", wanted, number)
        if order.replace:  # a service may be in progress in another set, with others
            for service in sorted(members_of(desk, order.set_name).services):
                refuse_for_others(desk, caller, replace(order, service=service))

    # What the set has is read again when the order is carried out, and is then to be what the token is for.
    return await ordered(desk, caller, limited(order, caller), give, allowed)
