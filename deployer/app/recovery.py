"""What can be known again of a service whose records were lost, from what stands and what the proxy does. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from deployer.app.observe import environment_in
from deployer.model import PLACES, Environment, Instance, Live, Observed, Place, Release, other
from deployer.planning import release_record
from deployer.planning.plan import Plan
from deployer.planning.recipes import PROXY_SECONDS, attach, remove, settle, start, way_back
from deployer.planning.steps import Approve, Share, Step, percent
from deployer.store import Port
from deployer.store.adoption import Interrupted, Recovered

if TYPE_CHECKING:
    from deployer.drivers.ports import Found

STRATEGY = "adopted"  # of a rollout whose own strategy is not known any more


@dataclass(frozen=True)
class FoundService:
    """What the world shows of one service.

    `lost` says which releases cannot be read from what stands; `vault` are those whose secrets are kept.
    """

    service: str
    instances: tuple[Instance, ...]
    releases: Mapping[int, Release]
    lost: tuple[str, ...] = ()
    live: Live | None = None
    vault: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Recovery:
    """What is known again of a service, what each environment is, and what stays lost, in sentences."""

    records: Recovered
    observed: Observed
    roles: dict[Place, str]
    lost: tuple[str, ...]


def recover(seen: FoundService, now: float) -> Recovery:
    """Rebuild the records of one service. `now` is Unix seconds; a warm environment is kept from then on."""
    releases, instances = seen.releases, seen.instances
    observed = _observed(seen)
    rollout = _interrupted(observed, releases)
    warm = None if rollout else _warm(observed, releases)
    known = tuple(_standing(release, observed, rollout) for _, release in sorted(releases.items()))
    records = Recovered(
        service=seen.service,
        releases=known,
        stable=observed.stable.number if observed.stable else 0,
        warm=warm.number if warm else 0,
        warm_colour=observed.colour,
        warm_until=now + _keep(observed) if warm else 0.0,
        ports=tuple(_port(i) for i in instances),
        rollout=rollout,
        last_release=max((*(i.release for i in instances), *seen.vault), default=0),
    )
    lost = (*seen.lost, *_unsaid(observed, rollout), *_secrets(known, seen.vault), _past(known))
    return Recovery(records, observed, _roles(observed, records), lost)


def read_records(found: Iterable[Found]) -> tuple[dict[int, Release], tuple[str, ...]]:
    """Read the releases that instances of one service carry; return of which none can be read, and why."""
    releases: dict[int, Release] = {}
    wrong: dict[int, str] = {}
    for each in found:
        instance = each.instance
        try:
            release = release_record.read(each.record)
        except ValueError as error:
            wrong.setdefault(instance.release, f"{instance.name}: {str(error).splitlines()[0]}")
            continue
        if (release.service, release.number, release.config_hash) != (
            instance.service,
            instance.release,
            instance.config_hash,
        ):
            wrong.setdefault(instance.release, f"{instance.name} carries the record of another release")
            continue
        releases.setdefault(release.number, release)
    lost = (f"r{n} cannot be rebuilt: {why}" for n, why in sorted(wrong.items()) if n not in releases)
    return releases, tuple(lost)


def _observed(seen: FoundService) -> Observed:
    blue, green, baseline = (environment_in(seen.service, place, seen.instances) for place in PLACES)
    here = {"blue": blue, "green": green}
    stable = here[seen.live.stable] if seen.live else None
    release = seen.releases.get(stable.release) if stable and stable.healthy() else None
    return Observed(seen.service, seen.live, release, blue, green, baseline)


# -- a rollout that was in progress


def _interrupted(observed: Observed, releases: Mapping[int, Release]) -> Interrupted | None:
    """Return the rollout that was in progress, with an end that can be reached; None when there was none.

    Without stable instances that run, going back would leave nobody to answer: a person decides then.
    """
    live, candidate = observed.live, observed.environment(observed.colour)
    if live is None or candidate is None or not _under_way(observed, candidate):
        return None
    release = releases.get(candidate.release)
    if release is None:
        return None
    number = max(_started(candidate), live.rollout if live.share else 0)
    lost = "the store was lost in the middle of this rollout, and with it what was seen"
    if observed.stable is None and candidate.healthy() and _promoted_once(observed):
        plan = _plan(observed, release, (Approve(share=live.share, deadline=PROXY_SECONDS),))
        ways = f"nothing of stable runs: `deploy promote` promotes r{release.number}, `deploy abort` removes it"
        return Interrupted(number, plan, f"{lost}; {ways}", back=False)
    return Interrupted(number, _plan(observed, release, ()), lost, back=True)


def _under_way(observed: Observed, candidate: Environment) -> bool:
    """Return whether the environment in the other colour belongs to a rollout that did not end.

    The live value keeps the number of the last rollout that wrote it; a promotion is the last write of one. A rollout
    whose share was ended looks like one that was left for good by an emergency, which is all the same: nobody is on its
    candidate. Only if it had replaced instances of stable, these must come back.
    """
    live = observed.live
    if live is None or live.share or live.baseline or observed.baseline:
        return True
    started = _started(candidate)
    ended = started == live.rollout and started > _started(observed.environment(live.stable))
    return started > live.rollout or (ended and _short(observed))


def _short(observed: Observed) -> bool:
    """Return whether stable has fewer instances than it should."""
    if observed.stable is None or observed.live is None:
        return False
    there = observed.environment(observed.live.stable)
    return there is None or len(there.healthy()) < observed.stable.size(observed.live.stable)


def _started(environment: Environment | None) -> int:
    return max((i.rollout for i in environment.instances), default=0) if environment else 0


def _promoted_once(observed: Observed) -> bool:
    return observed.live is not None and observed.live.rollout > 0


def _plan(observed: Observed, release: Release, gate: tuple[Step, ...]) -> Plan:
    """Make a plan whose way back is right from wherever the rollout was."""
    stable, colour = observed.stable, observed.colour
    way = way_back(observed, release)
    users, rest = [s for s in way if isinstance(s, Share)], [s for s in way if not isinstance(s, Share)]
    refill: tuple[Step, ...] = ()
    if stable is not None and observed.live is not None and _short(observed):  # it was replaced batch by batch
        refill = (*start(stable, observed.live.stable), *attach(stable, observed.live.stable))
    beside = (remove(release.manifest, "baseline"),) if observed.baseline else ()
    back: tuple[Step, ...] = (*users, *refill, *rest, *beside)
    if stable is not None and not release.may_run_beside(stable):
        back = (*rest, *beside, *refill, *users)
    return Plan.make(
        release.service,
        STRATEGY,
        stable.number if stable else 0,
        release.number,
        (*(attach(release, colour) or start(release, colour)), *gate, *settle(observed, release)),
        back,
        ("made from what stood when the store was lost",),
    )


# -- what is kept ready


def _warm(observed: Observed, releases: Mapping[int, Release]) -> Release | None:
    """Return the release that a rollback can switch to; one without a record, or that does not run, is none."""
    there = observed.environment(observed.colour)
    if observed.stable is None or there is None or not there.healthy() or not _keep(observed):
        return None
    kept = releases.get(there.release)
    return kept if kept is not None and kept.may_run_beside(observed.stable) else None


def _keep(observed: Observed) -> float:
    return observed.stable.manifest.keep.warm if observed.stable else 0.0


def _standing(release: Release, observed: Observed, rollout: Interrupted | None) -> Release:
    """Return what became of a release: users are on it, were on it, or were taken off it."""
    stable = observed.stable.number if observed.stable else 0
    if release.number == stable:
        return replace(release, status="good")
    if rollout and rollout.plan.release == release.number:
        return release
    if not stable:
        return release
    # Above the stable one stands only what was left for it: a rollback.
    return replace(release, status="good" if release.number < stable else "rolled-back")


def _port(instance: Instance) -> Port:
    return Port(int(instance.address.rpartition(":")[2]), instance.release, instance.index, instance.host)


# -- in words


def _roles(observed: Observed, records: Recovered) -> dict[Place, str]:
    roles: dict[Place, str] = {}
    live = observed.live
    for place in PLACES:
        if observed.environment(place) is None:
            continue
        if place == "baseline":
            roles[place] = "baseline" if records.rollout else "left over"
        elif live is not None and place == live.stable:
            roles[place] = "stable"
        elif records.rollout:
            roles[place] = "candidate"
        else:
            roles[place] = "warm" if records.warm else "left over"
    return roles


def _unsaid(observed: Observed, rollout: Interrupted | None) -> Iterable[str]:
    live = observed.live
    if live is None:
        yield "the proxy does not know it, so it is offline: `deploy up` deploys it"
        return
    if observed.stable is None:
        yield f"nothing of {live.stable} can be taken for the stable release: `deploy up` brings one out"
    if live.share and rollout is None:
        where = other(live.stable)
        yield f"{percent(live.share)} of the users are sent to {where}: `deploy doctor --fix` gives them stable"


def _secrets(releases: Sequence[Release], vault: frozenset[int]) -> Iterable[str]:
    for release in releases:
        if release.manifest.secrets and release.number not in vault:
            yield (
                f"the secrets of r{release.number} are gone: what runs of it runs on, but no instance can be started;"
                " deploy that version again"
            )


def _past(releases: Sequence[Release]) -> str:
    kept = ", ".join(f"r{r.number}" for r in releases) or "none"
    return f"earlier rollouts, and all releases but {kept}, are not known any more"
