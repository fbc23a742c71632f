"""Gates: steps that must pass. They wait, look, and either return or raise StepFailed."""

from __future__ import annotations

from typing import Any

from deployer.clock import Deadline
from deployer.engine.run import Hold, Run
from deployer.errors import CannotJudge, DeadlinePassed, DriverFailed, Exit, StepFailed, VerdictWorse
from deployer.judge.verdicts import Verdict
from deployer.model import FULL, Counts, Instance, Sample
from deployer.steps import Healthy, Smoke, Watch, percent

LOOK_SECONDS = 0.25  # between two looks at the samples
INSTANCE_SECONDS = 1.0  # between two looks at the instances
CODE_SECONDS = 1.0  # for the exit code of an instance that was just seen to have ended
LOG_LINES = 20


def last_words(run: Run, instance: Instance) -> tuple[str, ...]:
    """Give the last log lines of an instance; none when even that fails, for it must not hide the cause."""
    try:
        return run.drivers.runtime.logs(instance, LOG_LINES)
    except DriverFailed as error:
        return (f"(its log cannot be read: {error.message})",)


def _crashed(run: Run, instance: Instance) -> StepFailed:
    instance = _with_code(run, instance)
    code = "" if instance.exit_code is None else f" with code {instance.exit_code}"
    return StepFailed(
        f"{instance.name} exited{code}",
        "read its last lines, then deploy a mended release",
        log=last_words(run, instance),
    )


def _with_code(run: Run, instance: Instance) -> Instance:
    """Look again for a moment when the code of a fresh end is not known yet: it is what people ask for first."""
    moment = Deadline.after(run.clock, CODE_SECONDS)
    while instance.exit_code is None and not moment.passed():
        run.clock.sleep(0.05)
        now = run.instances(instance.colour, instance.release)
        instance = next((i for i in now if i.name == instance.name), instance)
    return instance


# -- health


def healthy(run: Run, step: Healthy, n: int, deadline: Deadline) -> dict[str, Any]:
    """Wait until every instance passed `rise` probes in a row."""
    manifest = run.release(step.release).manifest
    passed: dict[str, int] = {}
    seen: dict[str, str] = {}
    while True:
        run.look()
        instances = run.instances(step.colour, step.release)
        if not instances:
            raise StepFailed(f"r{step.release} ({step.colour}) has no instances", "see `deploy logs`")
        for instance in instances:
            if instance.state == "exited" or instance.restarts:
                raise _crashed(run, instance)
            seen[instance.name] = run.drivers.checks.probe(manifest, instance, deadline)
            passed[instance.name] = 0 if seen[instance.name] else passed.get(instance.name, 0) + 1
        ready = sum(1 for i in instances if passed[i.name] >= manifest.health.rise)
        run.tell("step.progress", n=n, text=f"{ready} of {len(instances)} healthy", done=ready, of=len(instances))
        if ready == len(instances):
            return {"healthy": ready}
        if deadline.passed():
            ill = next(i for i in instances if passed[i.name] < manifest.health.rise)
            raise DeadlinePassed(
                f"{ill.name} is not healthy after {step.deadline:g} s: {seen[ill.name] or 'too few passes in a row'}",
                "read its last lines; raise health.deadline if it only starts slowly",
                log=last_words(run, ill),
            )
        # The first probes come at once: most of a start is over before the first interval would be.
        run.clock.sleep(min(manifest.health.interval, max(deadline.left(), 0.001)))


# -- smoke tests


def smoke(run: Run, step: Smoke, deadline: Deadline) -> dict[str, Any]:
    """Run the smoke tests of the release through the proxy's preview route."""
    manifest = run.release(step.release).manifest
    base, headers = run.drivers.traffic.preview(run.service)
    problem = run.drivers.checks.smoke(manifest, base, headers, deadline)
    if problem:
        instances = run.instances(step.colour, step.release)
        log = last_words(run, instances[0]) if instances else ()
        raise StepFailed(problem, "no user saw this release; mend it and deploy again", log=log)
    return {"tests": len(manifest.smoke)}


# -- watching


class Tally:
    """Both sides since a watch began, as views show them."""

    def __init__(self) -> None:
        self.stable = Counts()
        self.candidate = Counts()
        self.lost = 0

    def add(self, sample: Sample) -> None:
        """Count what was answered since the last look."""
        self.stable += sample.stable
        self.candidate += sample.candidate
        self.lost += sample.lost

    def event(self, share: int) -> dict[str, Any]:
        """Give the data of a `sample` event."""
        total = self.stable.requests + self.candidate.requests
        return {
            "share_asked": share,
            "share_measured": round(self.candidate.requests / total * FULL) if total else None,
            "stable": _side(self.stable),
            "candidate": _side(self.candidate),
            "lost": self.lost,
        }


def _side(counts: Counts) -> dict[str, Any]:
    p50, p99 = counts.quantile(0.5), counts.quantile(0.99)
    return {
        "requests": counts.requests,
        "errors": counts.errors,
        "p50": None if p50 is None else round(p50, 2),
        "p99": None if p99 is None else round(p99, 2),
    }


def watch(run: Run, step: Watch, until: float, deadline: Deadline) -> dict[str, Any]:
    """Compare the candidate with stable until the time is over and enough was seen.

    Too few requests wait on, up to the step's deadline; then it cannot be judged.
    """
    verdicts, tally = run.verdicts, Tally()
    next_instances = 0.0
    with run.drivers.traffic.samples(run.service) as samples:
        while True:
            run.look()
            if run.hurry:
                return {"verdict": "skipped", "text": "a person promoted"}
            if run.clock.monotonic() >= next_instances:
                _still_alive(run, step)
                next_instances = run.clock.monotonic() + INSTANCE_SECONDS
            sample = samples.take()
            tally.add(sample)
            verdict = verdicts.observe(sample, run.clock.monotonic())
            run.tell("sample", **tally.event(step.share))
            if verdict.kind == "worse":
                _say(run, verdict)
                raise VerdictWorse(f"r{step.release} is worse: {verdict.text}", "mend it and deploy again")
            over = run.clock.now() >= until
            enough = verdict.kind != "cannot judge" or step.requests == 0
            if over and (enough or deadline.passed()):
                _say(run, verdict)
                return _conclude(run, step, verdict, tally, enough)
            run.clock.sleep(LOOK_SECONDS)


def _still_alive(run: Run, step: Watch) -> None:
    instances = run.instances(step.colour, step.release)
    dead = next((i for i in instances if i.state == "exited" or i.restarts), None)
    if dead:
        raise _crashed(run, dead)
    up = [s.name for s, is_up in run.drivers.traffic.servers(run.service, step.colour) if is_up]
    if not up:
        # Its share goes nowhere now: there is nothing left to compare.
        log = last_words(run, instances[0]) if instances else ()
        raise StepFailed(f"the proxy finds no instance of r{step.release} ({step.colour}) up", "see its log", log=log)


def _say(run: Run, verdict: Verdict) -> None:
    run.tell("verdict", verdict=verdict.kind, text=verdict.text, **verdict.values)


def _conclude(run: Run, step: Watch, verdict: Verdict, tally: Tally, enough: bool) -> dict[str, Any]:
    detail = {**tally.event(step.share), "verdict": verdict.kind, "text": verdict.text}
    if enough:
        return detail
    seen = (
        f"cannot judge r{step.release} at {percent(step.share)}: {tally.candidate.requests} requests seen"
        f" in {step.deadline:g} s, {step.requests} needed"
    )
    match run.release(step.release).manifest.judge.undecided:
        case "proceed":
            return detail
        case "revert":
            raise CannotJudge(seen, "send it more traffic, or lower judge.requests")
        case _:
            raise Hold(Exit.CANNOT_JUDGE, f"{seen}; `deploy resume`, `deploy promote` or `deploy abort`")
