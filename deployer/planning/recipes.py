"""Parts of plans that strategies share: building the twin, settling in, the way back. Pure functions over data."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from deployer.core.errors import Refused
from deployer.model import FULL, Observed, Release, other
from deployer.planning.plan import Plan
from deployer.planning.steps import (
    Approve,
    Attach,
    Colour,
    Handover,
    Healthy,
    Observe,
    Pause,
    Place,
    Play,
    Promote,
    Prune,
    Remove,
    Share,
    Sleep,
    Smoke,
    Start,
    Step,
    Stop,
    Warm,
    Watch,
    named,
)

if TYPE_CHECKING:
    from deployer.manifest.hook import RolloutHook
    from deployer.manifest.models import Approval, Manifest

START_SECONDS = 120.0
PROXY_SECONDS = 30.0
PLAYBOOK_SECONDS = 1800.0
HANDOVER_SECONDS = 60.0  # to close tens of thousands of connections, beyond the time that they are given
SLACK_SECONDS = 15.0
BAKE_SLACK = 10.0
LATE_METRICS, LATE_METRICS_SECONDS = 2, 60.0  # so much longer a watch of instances waits for metrics that say nothing


def start(
    release: Release, colour: Colour, instances: int | None = None, silent: Collection[str] = ()
) -> tuple[Step, ...]:
    """Run instances (all of the environment unless said) and wait until they are healthy; none on `silent` hosts."""
    every = release.host_names(colour)
    hosts = tuple(host for host in every if host not in silent) or every
    count = release.over(len(hosts)) if instances is None else instances
    return _start(release, colour, count, hosts)


def _start(release: Release, place: Place, count: int, hosts: tuple[str, ...]) -> tuple[Step, ...]:
    return (
        Start(
            release=release.number,
            colour=place,
            instances=count,
            hosts=hosts,
            spare=release.spare,
            # A verb may make a whole virtual machine.
            deadline=PLAYBOOK_SECONDS if release.manifest.runtime == "ansible" else START_SECONDS,
        ),
        Healthy(release=release.number, colour=place, deadline=release.manifest.health.deadline),
    )


def start_on(release: Release, colour: Colour, instances: int, silent: int) -> tuple[Step, ...]:
    """Have so many instances of an environment run in all, those on `silent` of its hosts left out."""
    return _start(replace(release, spare=silent), colour, instances, release.host_names(colour))


def attach(release: Release, colour: Place, *, partial: bool = False) -> tuple[Step, ...]:
    """Make instances that have a port known to the proxy; `partial`, also when hosts with some are silent."""
    if not release.served:
        return ()
    return (Attach(release=release.number, colour=colour, partial=partial, deadline=PROXY_SECONDS),)


def remove(manifest: Manifest, colour: Place, release: int = 0, *, keep: int = 0, outage: bool = False) -> Step:
    """Drain and remove everything in a colour, with a deadline that covers drain and grace."""
    stop = manifest.stop
    played = START_SECONDS if manifest.runtime == "ansible" else 0.0
    if manifest.port is None:
        return Stop(
            colour=colour,
            release=release,
            keep=keep,
            grace=stop.grace,
            outage=outage,
            deadline=stop.grace + SLACK_SECONDS + PROXY_SECONDS + played,
        )
    return Remove(
        colour=colour,
        release=release,
        keep=keep,
        drain=stop.drain,
        outage=outage,
        deadline=stop.drain + stop.grace + SLACK_SECONDS + PROXY_SECONDS + played,
    )


def put_to_sleep(release: Release, colour: Colour) -> Step:
    """Stop what runs of a release until the next request."""
    stop = release.manifest.stop
    deadline = stop.drain + stop.grace + SLACK_SECONDS + PROXY_SECONDS
    return Sleep(release=release.number, colour=colour, drain=stop.drain, grace=stop.grace, deadline=deadline)


def hand_over(release: Release, place: Place, number: int, *, back: bool = False) -> tuple[Step, ...]:
    """Close what stays open on release `number`, which users have left, as the manifest of another says; `back`, by a
    rollback.
    """
    handover = release.manifest.traffic.handover
    if handover is None or not release.served:
        return ()
    seconds = handover.rolled_back if back else handover.former
    return (Handover(release=number, colour=place, seconds=seconds, deadline=seconds + HANDOVER_SECONDS),)


def keep_warm(release: Release, colour: Colour, number: int, *, back: bool = False) -> tuple[Step, ...]:
    """Keep release `number`, which users have left, for a rollback, as the manifest of another says; `back`, by one."""
    keep, drain = release.manifest.keep, release.manifest.stop.drain
    paused: tuple[Step, ...] = ()
    if keep.paused:
        within = drain + START_SECONDS + PROXY_SECONDS
        paused = (Pause(release=number, colour=colour, drain=drain, deadline=within),)
    return (
        Warm(release=number, colour=colour, seconds=keep.warm, deadline=PROXY_SECONDS),
        *hand_over(release, colour, number, back=back),
        *paused,
    )


def before(observed: Observed, release: Release) -> tuple[Step, ...]:
    """Run the `before` hooks, then clear the colour of whatever stood in it, and what a dead rollout left beside.

    What is hidden on a silent host must at least not be known to the proxy: it would get users when it is back.
    """
    manifest, colour = release.manifest, observed.colour
    plays = _play("before", manifest.hooks.before, release, colour)
    leftovers: tuple[Place, ...] = (colour, "baseline")
    return (*plays, *(remove(manifest, place) for place in leftovers if observed.environment(place) or observed.silent))


def prove(release: Release, colour: Colour) -> tuple[Step, ...]:
    """Update the running twin, make it known to the proxy without users, and try it."""
    manifest = release.manifest
    updates = _play("update", manifest.update, release, colour)
    again: tuple[Step, ...] = (
        (Healthy(release=release.number, colour=colour, deadline=manifest.health.deadline),) if updates else ()
    )
    smoke: tuple[Step, ...] = (
        (
            Smoke(
                release=release.number,
                colour=colour,
                deadline=sum(s.timeout for s in manifest.smoke) + SLACK_SECONDS,
            ),
        )
        if manifest.smoke
        else ()
    )
    return (*updates, *again, *attach(release, colour), *smoke)


def twin(observed: Observed, release: Release, silent: Collection[str] = ()) -> tuple[Step, ...]:
    """Build the whole twin beside the stable environment, none of it on `silent` hosts; no user sees it yet."""
    colour = observed.colour
    return (*before(observed, release), *start(release, colour, silent=silent), *prove(release, colour))


def share(points: int, *, leased: bool = True, baseline: int = 0) -> Step:
    """Return the step that sets the parts of the users, in basis points, of the candidate and of the baseline."""
    return Share(share=points, leased=leased, baseline=baseline, deadline=PROXY_SECONDS)


def baseline(observed: Observed, stable: Release, instances: int) -> tuple[Step, ...]:
    """Start fresh instances of the stable release beside the candidate, to compare with: as cold as its own."""
    return (*_start(stable, "baseline", instances, stable.host_names(observed.colour)), *attach(stable, "baseline"))


def bake(observed: Observed, release: Release, seconds: float) -> tuple[Step, ...]:
    """Return the steps in which everyone has the candidate before the promotion: until then it rolls back by itself.

    One without users has all of its instances by then.
    """
    if not seconds:
        return ()
    if not release.served:
        return (watch_instances(observed, release, release.size(observed.colour), seconds),)
    watch = Watch(
        seconds=seconds, share=FULL, release=release.number, colour=observed.colour, deadline=seconds + BAKE_SLACK
    )
    return (share(FULL), watch)


def watch_instances(observed: Observed, release: Release, instances: int, seconds: float) -> Observe:
    """Watch so many instances of a candidate that gets no requests; metrics that are late get more time."""
    return Observe(
        seconds=seconds,
        release=release.number,
        colour=observed.colour,
        instances=instances,
        of=release.size(observed.colour),
        deadline=max(seconds * LATE_METRICS, seconds + LATE_METRICS_SECONDS),
    )


def approval(asked: Approval, points: int, instances: str = "") -> Step:
    """Wait for the consent of people at a share, in basis points, or with so many `instances`."""
    return Approve(
        share=points,
        count=asked.count,
        by=asked.by,
        role=asked.role or "",
        own=asked.own,
        expired=asked.expired,
        deadline=asked.within,
        instances=instances,
    )


def with_consent(plan: Plan, asked: Approval | None) -> Plan:
    """Have a plan wait for consent before all users get the release, and before anything of stable is taken away."""
    if asked is None:
        return plan
    promote = plan.forward[plan.commit]
    points, instances = 0, "" if any(isinstance(step, Attach) for step in plan.forward) else "no instance"
    for n, step in enumerate(plan.forward):
        stable = isinstance(step, Remove) and step.colour not in (getattr(promote, "colour", ""), "baseline")
        if step is promote or stable or (isinstance(step, Share) and step.share == FULL):
            return replace(plan, forward=(*plan.forward[:n], approval(asked, points, instances), *plan.forward[n:]))
        points = step.share if isinstance(step, Share) else points
        instances = step.what if isinstance(step, Observe) else instances
    return plan


def replacement(
    observed: Observed, release: Release, former: Release | None = None
) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    """Stop what stands, then start a release that must not run beside it; return the way there, and the way back.

    `former` is what the way back starts again: the stable release, unless said. Raises Refused while a host is
    silent, as something may run there.
    """
    if observed.silent:
        raise Refused(
            f"{named(tuple(observed.silent))} is unreachable: something may run there, and {release.name} must not be"
            " started beside it",
            "wait until the host is reachable, or switch it off and take it out of the inventory",
        )
    former = former or observed.stable
    new, old = observed.colour, other(observed.colour)
    beside: tuple[Step, ...] = (remove(release.manifest, "baseline"),) if observed.baseline else ()
    gone: tuple[Step, ...] = ()
    if observed.environment(old):
        gone = (remove(former.manifest if former else release.manifest, old, outage=True),)
    forward = (
        *before(observed, release),
        *gone,
        *start(release, new),
        *prove(release, new),
        *settle(observed, release, warm=False),
    )
    back: tuple[Step, ...] = (remove(release.manifest, new, release.number, outage=True), *beside)
    if former is not None:
        users = (share(0),) if former.served else ()
        back = (*back, *start(former, old), *attach(former, old), *users)
    return forward, back


def settle(observed: Observed, release: Release, *, warm: bool = True, back: bool = False) -> tuple[Step, ...]:
    """Promote, keep the former environment warm (or remove it), run the `after` hooks, prune; `back`, by a rollback."""
    manifest, colour = release.manifest, observed.colour
    return (
        Promote(release=release.number, colour=colour, deadline=PROXY_SECONDS),
        *_retire(observed, release, warm=warm, back=back),
        *_play("after", manifest.hooks.after, release, colour),
        Prune(keep=manifest.keep.releases, deadline=START_SECONDS),
    )


def _retire(observed: Observed, release: Release, *, warm: bool, back: bool) -> tuple[Step, ...]:
    if observed.live is None:
        return ()
    manifest = release.manifest
    colour = observed.live.stable
    if observed.stable is None:  # what stands there does not run: it is not worth keeping
        return (remove(manifest, colour),) if observed.environment(colour) else ()
    # What gets no requests cannot wait: while it runs, it works.
    if warm and release.served and manifest.keep.warm and release.may_run_beside(observed.stable):
        return keep_warm(release, colour, observed.stable.number, back=back)
    # An instance that is stopped can say goodbye on its connections, which the proxy cannot.
    return (remove(manifest, colour),)


def way_back(observed: Observed, release: Release) -> tuple[Step, ...]:
    """Return the steps that move all users to stable first, then drain and remove the candidate."""
    users: tuple[Step, ...] = ()
    if observed.stable and release.served:
        users = (share(0), *hand_over(release, observed.colour, release.number, back=True))
    return (*users, remove(release.manifest, observed.colour, release.number))


def first_deploy(observed: Observed, release: Release, strategy: str) -> Plan:
    """Plan for a service of which nothing runs: there is nobody to compare with and nothing to switch from."""
    return Plan.make(
        release.service,
        strategy,
        0,
        release.number,
        (*twin(observed, release), *settle(observed, release)),
        way_back(observed, release),
        (f"no stable release is running, so nothing is {'shared or ' if release.served else ''}compared",),
    )


def _play(
    when: Literal["update", "before", "after"], hooks: tuple[RolloutHook, ...], release: Release, colour: Colour
) -> tuple[Step, ...]:
    """Run hooks in their order: playbooks that follow one another in one step, each command in its own."""
    return tuple(
        Play(
            when=when,
            playbooks=tuple(hook.playbook for hook in some if hook.playbook),
            release=release.number,
            colour=colour,
            run=some[0].run or (),
            inside=some[0].where == "instance",
            deadline=some[0].within if some[0].run else PLAYBOOK_SECONDS,
        )
        for some in _in_turn(hooks)
    )


def _in_turn(hooks: tuple[RolloutHook, ...]) -> Iterator[list[RolloutHook]]:
    """Part hooks into those of one step each."""
    playbooks: list[RolloutHook] = []
    for hook in hooks:
        if not hook.run:
            playbooks.append(hook)
            continue
        if playbooks:
            yield playbooks
        playbooks = []
        yield [hook]
    if playbooks:
        yield playbooks
