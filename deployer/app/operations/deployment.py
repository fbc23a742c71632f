"""`propose` and `deploy`: from a request to a plan, and from a plan to a rollout."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from deployer.app.observe import live_release, observe
from deployer.app.operations.approvals import refuse_unanswerable
from deployer.app.operations.context import AppContext
from deployer.app.operations.control import make_way, refuse_shared, stop_running
from deployer.app.operations.deploy_request import DeployRequest
from deployer.app.operations.execution import begun, committed, hands, locked, run_of
from deployer.app.operations.guest_keeping import make_room
from deployer.app.operations.guests import terms_of
from deployer.app.operations.hosts import answering, hosts_of, refuse_silent
from deployer.app.operations.image import pinned_image, proven_signature, signature_of
from deployer.app.operations.needs import concurrency_text, learned_now, needed_now, note_need
from deployer.app.operations.port_capacity import refuse_crowded
from deployer.app.operations.proxy_recovery import refuse_kept, refuse_lost, serve_again
from deployer.app.operations.reconcile import record_rollback
from deployer.app.operations.request_check import CheckedRequest, check, fit, planned_by
from deployer.app.releases import config_hash, version_of
from deployer.app.work_tree import git_revision
from deployer.core.clock import Deadline
from deployer.core.errors import Locked, Refused
from deployer.core.host import NOT_SAID, Meant
from deployer.drivers.ports import Drivers, Image
from deployer.engine import RolloutResult, abort, drive
from deployer.model import PLACES, GuestTerms, MeasuredTraffic, Observed, Release, SecretText, Signature
from deployer.planning import reach, release_record
from deployer.planning.left_data import left_behind
from deployer.planning.plan import Plan
from deployer.planning.recipes import PROXY_SECONDS
from deployer.planning.steps import named
from deployer.store import Lock, person_of, whoami

if TYPE_CHECKING:
    from deployer.manifest.models import Manifest
    from deployer.planning.strategy import Strategy


@dataclass(frozen=True)
class DeployPlan:
    """What a deploy would do: the plan, and whether it is the release that is live already.

    `traffic` is what the proxy measures of the service's users; None while that is not known.
    """

    plan: Plan
    release: Release
    observed: Observed
    same: bool
    traffic: MeasuredTraffic | None = None


@dataclass(frozen=True)
class Wanted:
    """What a request would bring: the release, and whether it is live already; `spared` are silent hosts."""

    release: Release
    observed: Observed
    same: bool
    spared: tuple[str, ...] = ()


@dataclass(frozen=True)
class Brought:
    """What a request was answered: the values of its secrets, its image, who signed that, which hosts are meant.

    `terms` are those of the tenant whose guest it is.
    """

    secrets: Mapping[str, SecretText]
    image: Image
    signature: Signature | None
    meant: Meant = NOT_SAID
    terms: GuestTerms | None = None


# -- deploy


def wanted(house: AppContext, request: DeployRequest) -> Wanted:
    """Return which release a request is for; nothing is changed, only the image fetched and the strategy called."""
    request = fit(house, request)
    return _wanted(house, request, *_brought(house, request))


def propose(house: AppContext, request: DeployRequest) -> DeployPlan:
    """Make the plan of a deploy without changing anything but fetching the image."""
    request, strategy, options = planned_by(house, request)
    return _propose(house, request, strategy, options, *_brought(house, request))


def _brought(house: AppContext, request: DeployRequest) -> tuple[Drivers, Brought]:
    manifest, folder = request.loaded.manifest, request.loaded.folder
    secrets = request.secrets()
    meant = hosts_of(house, manifest, folder)
    terms = terms_of(house, manifest, folder, meant)
    drivers = house.wire(manifest, folder, house.meant(manifest.service, meant))
    if terms and drivers.guests:
        drivers.guests.require(terms)
    image = pinned_image(house, request, drivers, secrets)
    signature = signature_of(house, request, drivers, image)
    return drivers, Brought(secrets, image, signature, meant, terms)


@dataclass(frozen=True)
class Prepared:
    """A deploy under its lock, before anything of it is begun: what is to be done, and with which drivers."""

    request: DeployRequest
    lock: Lock
    drivers: Drivers
    secrets: dict[str, SecretText]
    proposal: DeployPlan

    @property
    def live(self) -> bool:
        """Whether its release is live already, and nothing is to be done."""
        return self.proposal.same


def deploy(house: AppContext, request: DeployRequest) -> RolloutResult:
    """Bring a release out by a strategy. The same release again does nothing and says so."""
    checked = check(house, request)
    clear_way(house, checked.request)
    with locked(house, checked.service, checked.purpose) as lock:
        prepared = prepare(house, lock, checked)
        if prepared.live:
            text = leave_live(house, prepared)
            house.tell(checked.service, text)
            return RolloutResult.at_once(text)
        make_room(house, checked.service, [(prepared.proposal.release, prepared.proposal.plan)])
        record(house, prepared)
        plan, folder = prepared.proposal.plan, request.loaded.folder
        rollout = house.store.rollouts.begin(lock, plan, folder, whoami(), request.message)
        return drive(begun(house, lock, prepared.drivers, rollout))


def clear_way(house: AppContext, request: DeployRequest) -> None:
    """Wait for the end of what a deploy does not wait for: an adjustment, and what it replaces."""
    service = request.loaded.manifest.service
    make_way(house, service, "a deploy does not wait for it")
    if request.replace:
        stop_running(house, service, "replaced by a newer deploy", request.allowed)


def prepare(house: AppContext, lock: Lock, checked: CheckedRequest) -> Prepared:
    """Bring the image and make the plan; nothing of the release is started or recorded."""
    request, secrets, service = checked.request, checked.secrets, checked.service
    manifest, folder = request.loaded.manifest, request.loaded.folder
    _refuse_open(house, request)
    meant = hosts_of(house, manifest, folder)
    terms = terms_of(house, manifest, folder, meant)
    drivers = hands(house, lock, house.wire(manifest, folder, house.meant(service, meant)))
    if terms and drivers.guests:
        drivers.guests.check(terms)
    if house.store.services.get(service).stable:
        serve_again(house, drivers, service)
    image = pinned_image(house, request, drivers, secrets)
    signature = proven_signature(house, request, drivers, image)
    _settle_open(house, request, lock)
    record_rollback(house, lock, drivers, service)
    brought = Brought(secrets, image, signature, meant, terms)
    proposal = _propose(house, request, checked.strategy, checked.options, drivers, brought)
    return Prepared(request, lock, drivers, secrets, proposal)


def leave_live(house: AppContext, prepared: Prepared) -> str:
    """Assert the entry of a release that is live all the same: a renewed certificate is loaded by it. Say that it is.

    Raise Refused where nothing is live.
    """
    release, stable = prepared.proposal.release, prepared.proposal.observed.stable
    live = stable or live_release(house.store, release.service)
    prepared.drivers.traffic.configure(live, None, Deadline.after(house.clock, PROXY_SECONDS))
    sleeps = "" if stable else ", asleep until the next request"
    return f"{release.version} is live already ({live.name}{sleeps}): nothing to do"


def record(house: AppContext, prepared: Prepared) -> None:
    """Record the release of a deploy, with its secrets, before its rollout begins."""
    release = house.store.releases.add(prepared.lock, prepared.proposal.release)
    if release.manifest.scale:
        note_need(house, prepared.lock, release)
    if house.store.shared is not None and reach.only_from_one(release.manifest):
        house.store.homes.note(prepared.lock, release_record.home(house.store.folder))
    house.vault.keep_key(house.store.secret("config-key"))
    house.vault.save(release.service, release.number, prepared.secrets)
    from deployer.app import forecast

    if release.manifest.traffic.tls:
        from deployer.app.operations.certificates import announce

        announce(house, release.manifest)
    if expected := forecast.first_line(prepared.proposal.plan, release.manifest, prepared.proposal.traffic):
        house.tell(release.service, expected)


def _propose(
    house: AppContext,
    request: DeployRequest,
    strategy: Strategy,
    options: Any,
    drivers: Drivers,
    brought: Brought,
) -> DeployPlan:
    wanted = _wanted(house, request, drivers, brought)
    observed, release = wanted.observed, replace(wanted.release, alone=_is_alone(request, options))
    plan = strategy.make(observed, release, options)
    if wanted.spared:
        plan = replace(plan, notes=(*plan.notes, f"without {named(wanted.spared)}, unreachable at the time"))
    if left := left_behind(observed, release):
        plan = replace(plan, notes=(*plan.notes, left))
    _refuse_several(release)
    if (scale := release.manifest.scale) and scale.hours:
        plan = replace(plan, notes=(*plan.notes, scale.hours.explain(house.clock.now())))
    if scale and scale.learns:
        plan = replace(plan, notes=(*plan.notes, concurrency_text(house, release)))
    if release.alone and scale and scale.sleeps:
        raise Refused(
            f"{release.service} sleeps while nobody comes: a request may start what {request.strategy} has stopped",
            "use another strategy, or `scale.min: 1`",
        )
    if not wanted.same:
        refuse_unanswerable(plan, person_of(whoami()))
        refuse_crowded(house, plan, observed)
    traffic = drivers.inspection.measured(plan.service) if observed.live else None
    return DeployPlan(plan, release, observed, wanted.same, traffic)


def _is_alone(request: DeployRequest, options: Any) -> bool:
    """Return whether the release must never run beside another one: the manifest says so, or the strategy promises."""
    return request.loaded.manifest.single or bool(getattr(options, "alone", False))


def _refuse_several(release: Release) -> None:
    """Raise Refused where a service that is `single` would run on several hosts."""
    hosts = release.host_names("blue"), release.host_names("green")
    if release.manifest.single and (most := max(hosts, key=len))[1:]:
        raise Refused(f"{release.service} is `single`, and would run on {named(most)}", "name one host in `hosts`")


def _wanted(house: AppContext, request: DeployRequest, drivers: Drivers, brought: Brought) -> Wanted:
    manifest, service = request.loaded.manifest, request.loaded.manifest.service
    observed = observe(house.store, drivers, service)
    brought, spare, spared = _without_silent(manifest, observed, brought)
    refuse_silent(house, drivers, observed, (*brought.meant.hosts, *brought.meant.twin), spared)
    _refuse_unrecorded(house, drivers, observed)
    refuse_lost(house, observed)
    refuse_kept(house, drivers, observed)
    image, key = brought.image, house.store.secret("config-key")
    release = Release(
        service=service,
        number=house.store.releases.next_number(service),
        version=version_of(manifest, request.version),
        image=image.reference,
        image_id=image.id,
        manifest=manifest,
        config_hash=config_hash(image.id, manifest, brought.secrets, key, brought.terms),
        git=request.bundle.git if request.bundle else git_revision(request.loaded.folder),
        created_by=whoami(),
        message=request.message,
        signature=brought.signature,
        hosts=brought.meant.hosts,
        twin=brought.meant.twin,
        proxies=brought.meant.proxies,
        terms=brought.terms,
        spare=spare,
        scaled=size.instances if (size := house.store.sizes.get(service)) else 0,
        needed=needed_now(house, observed),
        learned=learned_now(house, observed),
    )
    return Wanted(release, observed, _sleeps(house, observed, release) or _is_live(observed, release), spared)


def _without_silent(manifest: Manifest, observed: Observed, brought: Brought) -> tuple[Brought, int, tuple[str, ...]]:
    """Leave out hosts that are silent as far as `max_unavailable` goes; return how many more may be, and these."""
    meant = brought.meant
    hosts, more = answering(meant.hosts, observed.silent, manifest.max_unavailable)
    twin, more_twin = answering(meant.twin, observed.silent, manifest.max_unavailable)
    every, left = ({host.name for host in group} for group in ((*meant.hosts, *meant.twin), (*hosts, *twin)))
    spare = more_twin if twin and observed.colour == "green" else more
    return replace(brought, meant=replace(meant, hosts=hosts, twin=twin)), spare, tuple(sorted(every - left))


def _refuse_unrecorded(house: AppContext, drivers: Drivers, observed: Observed) -> None:
    """Refuse to begin again beside instances that have users and of which the store has no record."""
    if observed.live is None or house.store.releases.of(observed.service):
        return
    up = [s.name for place in PLACES for s, is_up in drivers.traffic.servers(observed.service, place) if is_up]
    if up:
        raise Refused(
            f"the proxy serves {observed.service} by {up[0]}, but {house.store.folder} has no record of it",
            "`deploy adopt` rebuilds a lost state database; --state names another folder",
        )


def _sleeps(house: AppContext, observed: Observed, release: Release) -> bool:
    """Return whether the release is the live one, and asleep: the next request starts it."""
    if observed.live is None or observed.live.stable not in observed.asleep:
        return False
    there, stable = observed.environment(observed.live.stable), house.store.services.get(observed.service).stable
    recorded = there is not None and there.release == stable
    return recorded and house.store.releases.get(observed.service, stable).config_hash == release.config_hash


def _is_live(observed: Observed, release: Release) -> bool:
    """Return whether the release is the live one, with all its instances."""
    if observed.stable is None or observed.live is None or observed.stable.config_hash != release.config_hash:
        return False
    environment = observed.environment(observed.live.stable)
    if environment is None or len(environment.healthy()) < release.size(observed.live.stable):
        return False
    if {host.name for host in observed.stable.proxies} != {host.name for host in release.proxies}:
        return False
    return {i.host for i in environment.instances} == set(release.host_names(observed.live.stable) or ("",))


def _refuse_open(house: AppContext, request: DeployRequest) -> None:
    """Refuse to deploy over a rollout in progress of a dead process, unless it is to be rolled back first."""
    service = request.loaded.manifest.service
    rollout = house.store.rollouts.in_progress(service)
    if rollout is not None and not request.replace:
        group = house.store.sets.of_rollout(rollout.number)
        whose = f"by {rollout.started_by}{f', of {group.title}' if group else ''}"
        raise Locked(
            f"rollout {rollout.number} of {service} (r{rollout.release}, {rollout.strategy}, {whose}) "
            f"is in progress{': ' + re.split('[:;] `deploy ', rollout.text)[0] if rollout.text else ''}",
            "`deploy resume`, `deploy promote` or `deploy abort` it, or roll it back first with --replace",
        )


def _settle_open(house: AppContext, request: DeployRequest, lock: Lock) -> None:
    """Bring a rollout in progress to its end: back, or forward where only tidying up is left."""
    rollout = house.store.rollouts.in_progress(lock.service)
    if rollout is None:
        return
    refuse_shared(house.store, rollout, request.allowed)
    run = run_of(house, lock, rollout)
    ending = drive(run) if committed(house, rollout) else abort(run, whoami(), "replaced by a newer deploy")
    if ending.outcome == "needs-attention":
        raise Refused(f"rollout {rollout.number} could not be rolled back: {ending.text}", "see `deploy status`")
