"""Routes that only look."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from deployer.app.evictions import eviction
from deployer.core.limits import SERVICE
from deployer.server.messages import HealthAnswer, missing, run_answer
from deployer.server.metrics import ServerMetrics
from deployer.server.rights import AtDesk, Auditor, By, Known, Operator, Overseer, Seen, Service, Viewer
from deployer.store import ServiceRecord as Record
from deployer.store import Store
from deployer.views.cost_data import CostView
from deployer.views.data import AuditView, HistoryView, JobsView, ReleasesView, RolloutView, StatusView
from deployer.views.logs import LogsView
from deployer.views.progress import RolloutState, RunAnswer, ServiceRow, ServicesAnswer
from deployer.views.report import render

LATEST = 1e11  # Unix seconds: later than any clock
COST_SECONDS = 30 * 86_400.0
Form = Literal["html", "json", "junit", "md"]
Limit = Annotated[int, Query(ge=1, le=1000, description="How many, the newest first.")]
Since = Annotated[float | None, Query(ge=0, le=LATEST, description="Unix seconds; default: 30 days before `until`.")]
Until = Annotated[float | None, Query(ge=0, le=LATEST, description="Unix seconds; default: now.")]
Lines = Annotated[int, Query(ge=1, le=10_000, description="How many of each instance.")]
Colour = Literal["blue", "green", "baseline"]
_TYPES: dict[Form, str] = {
    "html": "text/html",
    "json": "application/json",
    "junit": "application/xml",
    "md": "text/markdown",
}
# The report is one file with its own style: no script runs, nothing is loaded, nothing of our origin is at hand.
_REPORT = "default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'none'; base-uri 'none'"

router = APIRouter(tags=["look"])
public = APIRouter(tags=["look"])


@public.get("/health")
def health(desk: AtDesk) -> HealthAnswer:
    """Return that the server answers and reads its store; the one question that needs no token."""
    desk.stores.store().events.last_id()
    return HealthAnswer()


@router.get("/services")
def services(desk: AtDesk, caller: By) -> ServicesAnswer:
    """List the services that the token is for, from the store alone."""
    store = desk.stores.store()
    return ServicesAnswer(tuple(row_of(store, one) for one in store.services.all() if caller.token.sees(one.name)))


def row_of(store: Store, service: Record) -> ServiceRow:
    """Return what the store has of a service."""
    live = store.releases.get(service.name, service.stable) if service.stable else None
    tenant = (live.manifest.tenant or "") if live else ""
    found = eviction(store, service.name) if tenant else None
    rollout = store.rollouts.in_progress(service.name)
    return ServiceRow(
        service=service.name,
        stable=service.stable,
        stable_version=live.version if live else "",
        rollout=rollout.number if rollout else 0,
        outcome=(rollout.outcome or "") if rollout else "",
        tenant=tenant,
        evicted=("person" if found.by_person else "keeper") if found else "",
    )


@router.get("/services/{service}")
def status(desk: AtDesk, _: Viewer, service: Known) -> StatusView:
    """Show what is live now: read from proxy, runtime and store, not remembered."""
    with desk.app() as app:
        return app.status(service)


@router.get("/services/{service}/releases")
def releases(desk: AtDesk, _: Viewer, service: Known) -> ReleasesView:
    """List the releases of a service, the newest first."""
    with desk.app() as app:
        return app.releases(service)


@router.get("/services/{service}/rollouts")
def rollouts(desk: AtDesk, _: Viewer, service: Known, limit: Limit = 20) -> HistoryView:
    """List the rollouts of a service, the newest first."""
    with desk.app() as app:
        return app.history(service, limit)


@router.get("/services/{service}/cost")
def cost(desk: AtDesk, _: Viewer, service: Known, since: Since = None, until: Until = None) -> CostView:
    """Return what a service cost in instance-hours by release, and what scaling and sleep saved; the last 30 days."""
    ended = desk.clock.now() if until is None else until
    with desk.app() as app:
        return app.cost(service, ended - COST_SECONDS if since is None else since, ended)


@router.get("/services/{service}/jobs")
def jobs(desk: AtDesk, _: Viewer, service: Known) -> JobsView:
    """List the scheduled jobs of a service: when they run next, and how their last runs ended."""
    with desk.app() as app:
        return app.jobs(service)


@router.get("/services/{service}/audit")
def audit_of_service(desk: AtDesk, _: Viewer, service: Known, limit: Limit = 20) -> AuditView:
    """List who did what with a service, why, from where, and what came of it, the newest first."""
    with desk.app() as app:
        return app.audit(limit, service)


@router.get("/services/{service}/runs/{run}")
def run(desk: AtDesk, _: Viewer, service: Service, run: str) -> RunAnswer:
    """Return how far an order is that was given by this API."""
    found = desk.runner.read(service, run)
    if found is None:
        raise missing(f"there is no run {run[:40]!a} of {service}")
    return run_answer(found)


@router.get("/services/{service}/logs")
def logs(
    desk: AtDesk,
    _: Operator,
    service: Known,
    lines: Lines = 50,
    colour: Colour | None = None,
    job: Annotated[str | None, Query(pattern=f"^{SERVICE}$", description="Of its newest run that has ended.")] = None,
) -> LogsView:
    """Return the last lines that each instance (or a run of a job) wrote, without the values of its secrets."""
    with desk.app() as app:
        return app.logs(service, lines, colour or "", job or "")


@router.get("/rollouts/{number}/state")
def state(desk: AtDesk, rollout: Seen) -> RolloutState:
    """Return how far a rollout is, from the store alone: whoever follows one may ask it often."""
    store = desk.stores.store()
    last = store.events.last_id_of(rollout.number)
    return RolloutState(
        service=rollout.service,
        rollout=rollout.number,
        outcome=rollout.outcome or "",
        exit=rollout.exit if rollout.outcome else None,
        text=rollout.text,
        running=rollout.open and store.locks.read(rollout.service) is not None,
        last_event=last,
    )


@router.get("/rollouts/{number}")
def rollout(desk: AtDesk, rollout: Seen) -> RolloutView:
    """Show one rollout in full: steps, events, numbers, who and why."""
    with desk.app() as app:
        return app.show(rollout.number)


@router.get(
    "/rollouts/{number}/report",
    response_class=Response,
    responses={200: {"content": {kind: {} for kind in _TYPES.values()}, "description": "The report."}},
)
def report(
    desk: AtDesk, rollout: Seen, form: Annotated[Form, Query(alias="format", description="What it is for.")] = "html"
) -> Response:
    """Return the report of a rollout: a page with plots for people, JUnit, JSON or Markdown for pipelines."""
    with desk.app() as app:
        text = render(app.report(rollout.number), form)
    headers = {"content-security-policy": _REPORT} if form == "html" else {}
    return Response(text, media_type=_TYPES[form], headers=headers)


@router.get("/audit")
def audit(desk: AtDesk, _: Auditor, limit: Limit = 20) -> AuditView:
    """List who did what with all services and with tokens, the newest first."""
    with desk.app() as app:
        return app.audit(limit)


metrics_router = APIRouter(tags=["look"])


@metrics_router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "Metrics as Prometheus reads them."}},
)
def metrics(request: Request, _: Overseer) -> Response:
    """Return numbers for Prometheus: rollouts by outcome, what is in progress and live, requests of this API."""
    shown: ServerMetrics = request.app.state.metrics
    text, media_type = shown.exposition()
    return Response(text, media_type=media_type)
