"""Routes that change something. Each makes a run, waits a little for its end, and tells how far it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Response

from deployer.app import sets
from deployer.core.clock import Deadline
from deployer.core.errors import Exit
from deployer.planning.orders import Action, Order
from deployer.server.context import ServerContext
from deployer.server.guard import Caller
from deployer.server.messages import (
    ApiError,
    Back,
    ContractBody,
    Deploy,
    DeployStart,
    EvictBody,
    Firm,
    Forward,
    JobBody,
    ProblemAnswer,
    RequestBody,
    ScaleBody,
    VoteBody,
    missing,
    run_answer,
)
from deployer.server.rights import Admin, AtDesk, Known, Operator, Service
from deployer.server.runs import Run, run_of
from deployer.views.progress import RunAnswer

POLL_SECONDS = 0.05
Wait = Annotated[
    float, Query(ge=0, le=60, description="Seconds to wait for the end; of a deploy, until its rollout has begun.")
]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[!-~]{8,100}$",
        description="Repeating an order with the same key returns the run that it started the first time.",
    ),
]
_REFUSALS = {int(Exit.REFUSED): 422, int(Exit.LOCKED): 409}

responses: dict[int | str, dict[str, Any]] = {
    202: {"model": RunAnswer, "description": "It goes on, whether or not anybody looks."},
    409: {"model": ProblemAnswer, "description": "Somebody else changes this service, or it is at another point."},
}
router = APIRouter(tags=["act"], responses=responses)


@dataclass(frozen=True)
class Given:
    """How an order was given: so long one waits for its end, by this key, and this answers it."""

    response: Response
    wait: float
    key: str


def given(response: Response, wait: Wait = 10.0, key: Key = None) -> Given:
    """Read how an order was given."""
    return Given(response, wait, key or "")


Giving = Annotated[Given, Depends(given)]


@router.post("/services/{service}/rollouts")
async def start(desk: AtDesk, caller: Operator, service: Service, wanted: DeployStart, give: Giving) -> RunAnswer:
    """Bring a release out, as `deploy STRATEGY` does, by the manifest that this server has of the service."""
    refuse_freeze(caller, wanted.override_freeze)
    order = replace(
        await _deploy(desk, "start", service, wanted),
        reason=wanted.reason,
        replace=wanted.replace,
        override_freeze=wanted.override_freeze,
    )
    return await _ordered(desk, caller, order, give, wanted.rollout)


@router.post("/services/{service}/plan")
async def plan(desk: AtDesk, caller: Operator, service: Service, wanted: Deploy, give: Giving) -> RunAnswer:
    """Show what a deploy would do, as `deploy plan` does: nothing is changed, but the image is fetched."""
    return await _ordered(desk, caller, await _deploy(desk, "plan", service, wanted), give, None)


async def _deploy(desk: ServerContext, action: Action, service: str, wanted: Deploy) -> Order:
    source = await asyncio.to_thread(desk.source, service)
    if source is None:
        raise missing(f"this server has no manifest of {service}", "start it with `deploy serve -f FILE`")
    return Order(
        action,
        service,
        manifest=str(source.path),
        destination=source.destination,
        fingerprint=wanted.fingerprint,
        strategy=wanted.strategy,
        version=wanted.version,
        options=wanted.options,
        dirty=wanted.dirty,
    )


@router.post("/services/{service}/promote")
async def promote(desk: AtDesk, caller: Operator, service: Known, wanted: Forward, give: Giving) -> RunAnswer:
    """Promote the rollout in progress now, without waiting for its remaining analysis steps."""
    if wanted.force and not caller.token.may("admin"):
        raise ApiError(
            403, ProblemAnswer(message="skipping pending approvals needs the role admin", hint="ask an admin")
        )
    order = Order("promote", service, wanted.reason, force=wanted.force)
    return await _ordered(desk, caller, order, give, wanted.rollout)


@router.post("/services/{service}/approve")
async def approve(desk: AtDesk, caller: Operator, service: Known, voice: VoteBody, give: Giving) -> RunAnswer:
    """Approve what a rollout waits for, or refuse it, as the person of the token, who must be one of those asked."""
    number, role = voice.rollout or 0, "" if caller.by_shell else caller.token.role
    order = Order("approve", service, voice.reason, refuse=voice.refuse, number=number, role=role)
    return await _ordered(desk, caller, order, give, voice.rollout)


@router.post("/services/{service}/abort")
async def abort(desk: AtDesk, caller: Operator, service: Known, wish: RequestBody, give: Giving) -> RunAnswer:
    """Abort the rollout in progress: all users return to stable, then the candidate is drained and removed."""
    return await _wished(desk, caller, "abort", service, wish, give)


@router.post("/services/{service}/pause")
async def pause(desk: AtDesk, caller: Operator, service: Known, wish: RequestBody, give: Giving) -> RunAnswer:
    """Pause the rollout in progress at its current share."""
    return await _wished(desk, caller, "pause", service, wish, give)


@router.post("/services/{service}/resume")
async def resume(desk: AtDesk, caller: Operator, service: Known, wish: RequestBody, give: Giving) -> RunAnswer:
    """Continue a rollout that is paused, or whose process is gone."""
    return await _wished(desk, caller, "resume", service, wish, give)


@router.post("/services/{service}/rollback")
async def rollback(desk: AtDesk, caller: Operator, service: Known, wanted: Back, give: Giving) -> RunAnswer:
    """Return to the previous release, or to `to`; a rollout in progress is rolled back instead."""
    order = Order("rollback", service, wanted.reason, to=wanted.to or 0, again=wanted.again, force=wanted.force)
    return await _ordered(desk, caller, order, give, wanted.rollout)


@router.post("/services/{service}/drain")
async def drain(desk: AtDesk, caller: Operator, service: Known, wish: RequestBody, give: Giving) -> RunAnswer:
    """Close WebSockets and tcp sessions on releases that users have left, and wait until requests there have ended."""
    return await _wished(desk, caller, "drain", service, wish, give)


@router.post("/services/{service}/scale")
async def scale(desk: AtDesk, caller: Operator, service: Known, wanted: ScaleBody, give: Giving) -> RunAnswer:
    """Run so many instances of the live release on each host, for so long; without a number, as the manifest says."""
    order = Order("scale", service, wanted.reason, instances=wanted.instances or 0, seconds=wanted.seconds or 0.0)
    return await _ordered(desk, caller, order, give, wanted.rollout)


@router.post("/services/{service}/contract")
async def contract(desk: AtDesk, caller: Operator, service: Known, wanted: ContractBody, give: Giving) -> RunAnswer:
    """Run the contract of the live release, once no former one is there; `drop` removes at once what is kept warm."""
    order = Order("contract", service, wanted.reason, drop=wanted.drop)
    return await _ordered(desk, caller, order, give, wanted.rollout)


@router.post("/services/{service}/evict")
async def evict(desk: AtDesk, caller: Operator, service: Known, wanted: EvictBody, give: Giving) -> RunAnswer:
    """Evict a guest: its instances are frozen, then have their time to end, and it stays away until it is let in."""
    _refuse_tenant(caller)
    order = Order("evict", service, wanted.reason, now=wanted.now, seconds=wanted.seconds or 0.0)
    return await _ordered(desk, caller, order, give, None)


@router.post("/services/{service}/admit")
async def admit(desk: AtDesk, caller: Operator, service: Known, wish: RequestBody, give: Giving) -> RunAnswer:
    """Let a guest come back that was evicted."""
    _refuse_tenant(caller)
    return await _wished(desk, caller, "admit", service, wish, give)


@router.post("/services/{service}/run")
async def run(desk: AtDesk, caller: Operator, service: Known, wanted: JobBody, give: Giving) -> RunAnswer:
    """Run a scheduled job of the live release now; its output is among the logs once it has ended."""
    return await _ordered(desk, caller, Order("run", service, wanted.reason, job=wanted.job), give, None)


@router.post("/services/{service}/down")
async def down(desk: AtDesk, caller: Admin, service: Known, why: Firm, give: Giving) -> RunAnswer:
    """Take a service off the proxy and remove all its instances; releases and history stay."""
    return await _wished(desk, caller, "down", service, why, give)


@router.post("/services/{service}/release-lock")
async def release_lock(desk: AtDesk, caller: Admin, service: Known, why: Firm, give: Giving) -> RunAnswer:
    """Break the lock of a service; its holder can change nothing from then on."""
    return await _wished(desk, caller, "release-lock", service, why, give)


async def _wished(
    desk: ServerContext, caller: Caller, action: Action, service: str, why: RequestBody | Firm, give: Given
) -> RunAnswer:
    rollout = why.rollout if isinstance(why, RequestBody) else None
    return await _ordered(desk, caller, Order(action, service, why.reason), give, rollout)


async def _ordered(desk: ServerContext, caller: Caller, order: Order, give: Given, rollout: int | None) -> RunAnswer:
    """Submit an order for a service; a caller that names a `rollout` has decided about that one."""

    def allowed() -> None:
        if rollout is not None:
            _still(desk, order.service, rollout)
        refuse_for_others(desk, caller, order)

    # It is looked at once more when it is carried out: by then the service may be released together with others.
    return await ordered(desk, caller, limited(order, caller), give, allowed)


def limited(order: Order, caller: Caller) -> Order:
    """Return an order that is carried out for no more than what the token of who gives it is for."""
    return replace(order, allowed=list(caller.token.services), tenant=caller.token.tenant)


async def ordered(
    desk: ServerContext, caller: Caller, order: Order, give: Given, allowed: Callable[[], None]
) -> RunAnswer:
    """Submit an order to the runner; return its end, or how far it is when the wait is over.

    `allowed` raises ApiError where it must not be given; it is not asked about one that was given before.
    """
    name = run_of(caller.token.id, give.key) if give.key else ""
    before = await asyncio.to_thread(desk.runner.read, order.service, name) if name else None
    if before is None:
        await asyncio.to_thread(allowed)
    run = await asyncio.to_thread(desk.runner.start, order, caller.token.name, caller.origin, name)
    place = f"sets/{order.set_name}" if order.set_name else f"services/{order.service}"
    give.response.headers["location"] = f"/api/v1/{place}/runs/{run.id}"
    run = await _waited(desk, run, give.wait)
    if run.open:
        give.response.status_code = 202
    elif run.exit is not None and run.exit in _REFUSALS:
        problem = ProblemAnswer(message=run.text, hint=run.hint, exit=run.exit)
        raise ApiError(_REFUSALS[run.exit], problem)
    return run_answer(run)


def _refuse_tenant(caller: Caller) -> None:
    """Raise ApiError for the token of a tenant: who has to go, and for how long, is said by the owner of the hosts."""
    if caller.token.tenant:
        message = f"the token {caller.token.name} is for {caller.token.scope} only"
        raise ApiError(
            403, ProblemAnswer(message=message, hint="a token that is for no tenant may evict guests and let them in")
        )


def refuse_freeze(caller: Caller, why: str) -> None:
    """Raise ApiError where somebody says why a freeze does not hold who may not."""
    if why and not caller.token.may("admin"):
        problem = ProblemAnswer(message="to override a freeze needs the role admin", hint="wait, or ask an admin")
        raise ApiError(403, problem)


def refuse_for_others(desk: ServerContext, caller: Caller, order: Order) -> None:
    """Raise ApiError where an order would move users of services that the token is not for: others of the same set."""
    with desk.house() as house:
        group = sets.asked_of(house, order)
    if group is None:
        return
    if others := [m.service for m in group.moved if not caller.token.sees(m.service)]:
        message = f"{order.service} is released together with {', '.join(others)}, in {group.title}"
        hint = f"the token {caller.token.name} is not for {', '.join(others)}: ask somebody whose token is"
        raise ApiError(403, ProblemAnswer(message=message, hint=hint))


def _still(desk: ServerContext, service: str, rollout: int) -> None:
    found = desk.stores.store().rollouts.in_progress(service)
    refuse_other("rollout", rollout, found.number if found else 0)


def refuse_other(what: str, wanted: int, number: int) -> None:
    """Raise ApiError where another one is in progress than somebody has decided about; 0 is none."""
    if number != wanted:
        there = f"{what} {number} is" if number else "none is"
        before = f"{what} {wanted} is not in progress any more" if wanted else f"no {what} was in progress before"
        problem = ProblemAnswer(message=f"{before}: {there} now", hint="look at it again", exit=int(Exit.LOCKED))
        raise ApiError(409, problem)


async def _waited(desk: ServerContext, run: Run, seconds: float) -> Run:
    deadline = Deadline.after(desk.clock, seconds)
    while run.open and not (run.order.action == "start" and run.rollout) and not deadline.passed():
        await asyncio.sleep(POLL_SECONDS)
        found = await asyncio.to_thread(desk.runner.read, run.order.service, run.id)
        run = found or replace(run, ended_at=desk.clock.now(), outcome="lost", text="the file of the run is gone")
    return run
