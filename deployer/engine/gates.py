"""Gates: steps that must pass. They wait, look, and either return or raise StepFailed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deployer.core.clock import Deadline
from deployer.core.errors import DeadlinePassed, DriverFailed, StepFailed
from deployer.engine.health import await_health
from deployer.engine.run import Drive
from deployer.model import Instance
from deployer.planning.steps import Healthy, Smoke

CODE_SECONDS = 1.0  # for the exit code of an instance that was just seen to have ended
LOG_LINES = 20


def last_words(run: Drive, instance: Instance) -> tuple[str, ...]:
    """Return the last log lines of an instance; none when even that fails, for it must not hide the cause."""
    try:
        return run.drivers.runtime.logs(instance, LOG_LINES)
    except DriverFailed as error:
        return (f"(its log cannot be read: {error.message})",)


def ended(instances: Sequence[Instance]) -> Instance | None:
    """Return one that has ended, if only once; None where all run since their start."""
    return next((i for i in instances if i.state == "exited" or i.restarts), None)


def crashed(run: Drive, instance: Instance) -> StepFailed:
    """Make the error of an instance that ended, with its exit code and its last lines."""
    instance = _with_code(run, instance)
    code = "" if instance.exit_code is None else f" with code {instance.exit_code}"
    return StepFailed(
        f"{instance.name} exited{code}",
        "see its last log lines below, then deploy a fixed release",
        log=last_words(run, instance),
    )


def _with_code(run: Drive, instance: Instance) -> Instance:
    """Look again for a moment when the code of a fresh end is not known yet: it is what people ask for first."""
    found = instance

    def known() -> bool:
        nonlocal found
        if found.exit_code is None:
            now = run.instances(instance.colour, instance.release)
            found = next((i for i in now if i.name == instance.name), found)
        return found.exit_code is not None

    Deadline.after(run.clock, CODE_SECONDS).wait(known)
    return found


# -- health


def healthy(run: Drive, step: Healthy, n: int, deadline: Deadline) -> dict[str, Any]:
    """Wait until every instance passed `rise` probes in a row."""
    manifest = run.release(step.release).manifest
    passed = 0

    def look() -> tuple[Instance, ...]:
        run.look()
        instances = run.whole(step.colour, step.release)
        if not instances:
            raise StepFailed(f"r{step.release} ({step.colour}) has no instances", "see `deploy logs`")
        for instance in instances:
            if instance.state == "exited" or instance.restarts:
                _refuse_crashed(run, step, instance, deadline)
        return instances

    def told(ready: int, of: int) -> None:
        nonlocal passed
        passed = ready
        run.tell("step.progress", n=n, text=f"{ready} of {of} healthy", done=ready, of=of)

    ill = await_health(run.drivers.checks, manifest, look, deadline, told)
    if ill is not None:
        raise DeadlinePassed(
            f"{ill.instance.name} is not healthy after {step.deadline:g} s: {ill.why}",
            "read its last lines; raise health.deadline if it only starts slowly",
            log=last_words(run, ill.instance),
        )
    return {"healthy": passed}


def _refuse_crashed(run: Drive, step: Healthy, instance: Instance, deadline: Deadline) -> None:
    """Refuse a candidate that ended, if only once.

    What served before is started again, not judged; and what is promoted in any case, since its set is.
    """
    if run.rollout.phase == "forward" and not run.rollout.plan.adjusts and not run.bound:
        raise crashed(run, instance)
    if instance.state == "exited":
        again = run.spec(run.release(step.release), step.colour, instance.index, instance.host)
        run.drivers.runtime.ensure(again, deadline)


# -- smoke tests


def smoke(run: Drive, step: Smoke, deadline: Deadline) -> dict[str, Any]:
    """Run the smoke tests of the release through the proxy's preview route."""
    manifest = run.release(step.release).manifest
    base, headers = run.drivers.traffic.preview(run.service)
    problem = run.drivers.checks.smoke(manifest, base, headers, deadline)
    if problem:
        instances = run.instances(step.colour, step.release)
        log = last_words(run, instances[0]) if instances else ()
        raise StepFailed(problem, "no user saw this release; fix it and deploy again", log=log)
    return {"tests": len(manifest.smoke)}
