"""The routes of the pages. They only look: what changes something is asked of the API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from deployer.app.local import LocalApp
from deployer.model import newest_good
from deployer.server.context import ServerContext
from deployer.server.guard import Caller
from deployer.server.messages import ProblemAnswer
from deployer.server.page import assets, login, rollout, services, sets
from deployer.server.page.deploy_form import choices, deploy_dialog, set_dialog
from deployer.server.page.dialogs import Dialog, asks
from deployer.server.page.frame import page
from deployer.server.query_routes import row_of
from deployer.server.rights import AtDesk, Auditor, By, Known, Operator, Seen, SeenSet, Viewer, members_of, released
from deployer.store import Store
from deployer.views.progress import ServiceRow
from deployer.views.reduce import KINDS
from deployer.views.report.markup import tag
from deployer.views.set_data import SetView
from deployer.views.text import release as named

router = APIRouter()
router.include_router(assets.router)
router.include_router(login.router)
LINES = 100  # of each instance
PLOT_SECONDS = 7 * 86_400.0  # of size and load
RECORDS = 100  # of the audit log on its page


@router.get("/")
def home(desk: AtDesk, caller: By) -> HTMLResponse:
    """Show all services at a glance."""
    with desk.app() as app:
        store = app.context.store
        rows = [row_of(store, s) for s in store.services.all() if caller.token.sees(s.name)]
        acts, now = caller.token.may("operator"), desk.clock.now()
        glances = [_glance(app, row, acts=acts) for row in rows]
        seen = [n for n in store.sets.names() if all(map(caller.token.sees, members_of(desk, n).services))]
        together = sets.cards([app.sets.status(name) for name in seen], now, acts=acts)
    return page("Services", services.home(glances, now, together), caller, data={"every": "5"}, now=now)


@router.get("/sets/{set}")
def of_set(desk: AtDesk, caller: By, members: SeenSet) -> HTMLResponse:
    """Show several services that are released together, live while they are."""
    with desk.app() as app:
        data = _live(desk, app, f"/api/v1/sets/{members.name}/events")
        view, now = app.sets.status(released(members)), desk.clock.now()
        history = app.sets.history(members.name)
        asked = (*sets.asks(app.context, view, caller), *_set_deploys(desk, app.context.store, view, caller))
        main = sets.main(view, history, asked, now)
    return page(f"{sets.title(view)} · {members.name}", main, caller, data=data, now=now)


def _glance(app: LocalApp, row: ServiceRow, *, acts: bool) -> services.Glance:
    """Read a service from the store, and of one that is in progress the share that is in force."""
    store = app.context.store
    rollouts = store.rollouts.of(row.service, 1)
    if not rollouts:
        return services.Glance(row)
    last = rollouts[0]
    version = store.releases.get(last.service, last.release).version
    share = app.status(row.service).share if row.rollout else 0
    earlier = newest_good(store.releases.of(row.service), row.stable) if acts and row.stable else None
    back = named(earlier.number, earlier.version) if earlier else ""
    return services.Glance(row, last, named(last.release, version), share, back, acts, _asleep(app, row))


def _asleep(app: LocalApp, row: ServiceRow) -> float:
    """Return since when the live release sleeps, by what lies beside the proxy; 0 where it does not."""
    store = app.context.store
    release = store.releases.get(row.service, row.stable) if row.stable else None
    if release is None or release.manifest.scale is None or not release.manifest.scale.sleeps:
        return 0.0
    sleeper, record = app.context.drivers(release).sleeper, store.services.get(row.service)
    found = sleeper.asleep(row.service) if sleeper else {}
    return max((since for place, since in found.items() if place != record.warm_colour or not record.warm), default=0.0)


@router.get("/services/{service}")
def service(desk: AtDesk, caller: Viewer, service: Known) -> HTMLResponse:
    """Show a service."""
    with desk.app() as app:
        data = _live(desk, app, f"/api/v1/services/{service}/events")
        store, now = app.context.store, desk.clock.now()
        status = app.status(service)
        follows = status.size is not None and status.size.scale is not None
        told = services.ServicePage(
            status,
            app.history(service),
            app.releases(service),
            app.audit(20, service),
            now,
            next(iter(store.rollouts.of(service, 1)), None),
            app.cost(service, now - PLOT_SECONDS, now) if follows else None,
        )
        asked = (*asks(app.context, service, caller), *_deploys(desk, store, service, caller))
        main = services.service(told, asked, logs=caller.token.may("operator"))
    return page(f"{services.title(told.status)} · {service}", main, caller, data=data, now=desk.clock.now())


def _deploys(desk: ServerContext, store: Store, service: str, caller: Caller) -> Iterator[Dialog]:
    """Let an operator deploy a service that rests, by the manifest that this server has of it."""
    if caller.token.may("operator") and store.rollouts.in_progress(service) is None:
        given = choices(desk, store, service)
        if given is not None:
            yield deploy_dialog(service, given)


def _set_deploys(desk: ServerContext, store: Store, view: SetView, caller: Caller) -> Iterator[Dialog]:
    """Let an operator release a set that rests, by the release file that this server has of it."""
    if caller.token.may("operator") and not any(store.rollouts.in_progress(each.service) for each in view.members):
        asked = set_dialog(desk, store, view.name)
        if asked is not None:
            yield asked


@router.get("/services/{service}/logs")
def logs(desk: AtDesk, caller: Operator, service: Known) -> HTMLResponse:
    """Show the last lines that each instance wrote, without the values of its secrets."""
    with desk.app() as app:
        found = app.logs(service, LINES)
    lines = {one.instance: one.lines for one in found.instances}
    silent = {one.host: one.why for one in found.silent}
    return page(f"{service} logs", services.logs(service, lines, silent), caller, data={"every": "2"})


@router.get("/rollouts/{number}")
def of_rollout(desk: AtDesk, caller: By, seen: Seen) -> HTMLResponse:
    """Show a rollout, live while it is in progress."""
    with desk.app() as app:
        data = _live(desk, app, f"/api/v1/rollouts/{seen.number}/events") if seen.open else {}
        view, status = app.show(seen.number), app.status(seen.service)
        state = rollout.state_of(view, desk.sample(seen.number, seen.service) if seen.open else None)
        told = rollout.RolloutSnapshot(desk.reports.of(app.context, view), state, status, desk.clock.now())
        main = rollout.main(told, asks(app.context, seen.service, caller))
    title = f"{rollout.title(told)} · {seen.service} rollout {seen.number}"
    return page(title, main, caller, data=data, now=desk.clock.now())


@router.get("/audit")
def audit(desk: AtDesk, caller: Auditor) -> HTMLResponse:
    """Show who did what with all services and with tokens."""
    with desk.app() as app:
        log = app.audit(RECORDS)
    main = [tag("h1", "Audit log"), tag("section", services.records(log), id="audit", aria_label="records")]
    return page("Audit log", main, caller, now=desk.clock.now())


def _live(desk: ServerContext, app: LocalApp, events: str) -> Mapping[str, str]:
    """Return what the script is to listen to: what comes after this page was made."""
    return {
        "events": f"{events}?after={app.context.store.events.last_id()}",
        "kinds": " ".join(sorted(KINDS)),
        "now": f"{desk.clock.now():.3f}",
    }


def problem(status: int, told: ProblemAnswer, caller: Caller | None) -> HTMLResponse:
    """Show why there is no page."""
    main = tag("section", tag("h1", told.message), tag("p", told.hint) if told.hint else None, class_="why bad")
    return page(f"{status}", main, caller, status=status)
