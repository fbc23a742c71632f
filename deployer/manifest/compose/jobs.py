"""Jobs of a service, from what schedulers of containers read in labels: ofelia and deck-chores."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from deployer.core.errors import Problem
from deployer.core.limits import SERVICE_LETTERS
from deployer.manifest import tree, variables
from deployer.manifest.compose import times
from deployer.manifest.compose.draft import Draft, Raw, split_words
from deployer.manifest.compose.project import Project
from deployer.manifest.tree import Scalar

Path = tuple[str | int, ...]
OFELIA, DECK_CHORES = "ofelia", "deck-chores"
SCHEDULERS = frozenset((OFELIA, DECK_CHORES))  # the last part of their images, too
_READ = re.compile(r"(ofelia|deck-chores)\.")
_JOB = re.compile(r"(ofelia)\.job-(exec|run|local|service-run)\.([^.]+)\.(.+)|(deck-chores)\.([^.]+)\.(.+)")
_SWITCHES = ("ofelia.enabled", "ofelia.service")
_TAKEN = frozenset(("schedule", "cron", "interval", "date", "timezone", "command", "environment", "env"))
_SAME = frozenset(("image", "container", "no-overlap", "delete"))  # where it runs, and what is always so
_NO_COUNTERPART = "a job has no such key"
_REASONS = {
    "user": "a job runs as the user of its service",
    "volume": "a job has the mounts of its service",
    "network": "a job is in the networks of its service",
    "dir": "set it in the Dockerfile (WORKDIR), or in the command",
    "workdir": "set it in the Dockerfile (WORKDIR), or in the command",
    "working-dir": "set it in the Dockerfile (WORKDIR), or in the command",
    "tty": "a job has no terminal",
    "max": "a job never runs twice at once",
}
_TIMES: dict[str, Callable[[str], times.JobTimes]] = {"cron": times.of_fields, "interval": times.of_interval}


@dataclass
class _Labels:
    """The labels of one job: on which service they are, and each parameter with its path."""

    scheduler: str
    kind: str
    name: str
    on: Draft
    parameters: dict[str, tuple[Raw, Path]] = field(default_factory=dict)

    def text(self, parameter: str) -> str:
        """Return a parameter with its variables filled in, "" without it."""
        return self._filled(self.parameters[parameter][0]) if parameter in self.parameters else ""

    def _filled(self, text: str) -> str:
        return variables.filled(text, self.on.project.known.get)

    def problem(self, why: str, parameter: str = "") -> Problem:
        """Return why a parameter, or the job, is not taken over."""
        _, path = self.parameters.get(parameter) or next(iter(self.parameters.values()))
        return _problem(self.on, why, path)


def is_read(label: str) -> bool:
    """Return whether a scheduler reads a label."""
    return bool(_READ.match(label))


def take(draft: Draft) -> None:
    """Take the jobs that run in the service, on whichever service their labels are; note those on it that cannot be."""
    made: dict[str, object] = {}
    for job in _jobs(draft.project):
        service, why = _service(job)
        if service == draft.name:
            _take(draft, job, made)
        elif job.on.name == draft.name and not service:
            draft.notes.append(job.problem(why))
    draft.notes += _others(draft)
    if made:
        draft.put(
            "schedule", made, "each run is a container of its own; `deploy serve` or a timer runs them: docs/jobs.md"
        )


def left_out(project: Project, taken: tuple[str, ...]) -> Iterator[Problem]:
    """Return the labels on services that stay with Compose, as far as no service that is taken over has their jobs."""
    for job in _jobs(project):
        service, why = _service(job)
        if service not in taken and (service or job.on.name not in taken):
            yield job.problem(why or f"it runs in {service}, which stays with Compose")
    for name in project.services:
        if name not in taken:
            yield from _others(Draft(project, name))


def _others(on: Draft) -> Iterator[Problem]:
    for name, (_, path) in _labels(on):
        if not _JOB.fullmatch(name) and name not in _SWITCHES:
            scheduler = name.partition(".")[0]
            told = "`notify` (job-failed) and `deploy jobs` tell how jobs end"
            yield _problem(on, told if scheduler == OFELIA else f"only {scheduler} reads it", path)


def _problem(on: Draft, why: str, path: Path) -> Problem:
    whole = ("services", on.name, *path)
    return Problem(on.project.place(*whole), tree.spell(whole), why)


def _labels(draft: Draft) -> Iterator[tuple[str, tuple[Raw | None, Path]]]:
    for section in (("labels",), ("deploy", "labels")):
        yield from (pair for pair in draft.pairs(*section).items() if is_read(pair[0]))


def _jobs(project: Project) -> list[_Labels]:
    """Return the jobs of all labels."""
    found: dict[tuple[str, ...], _Labels] = {}
    for service in project.services:
        draft = Draft(project, service)
        for label, (value, path) in _labels(draft):
            if named := _JOB.fullmatch(label):
                scheduler, kind = named[1] or named[5], named[2] or "exec"
                name, parameter = (named[3], named[4]) if named[1] else (named[6], named[7])
                job = found.setdefault((service, kind, name), _Labels(scheduler, kind, name, draft))
                job.parameters[parameter] = (value or Raw(), path)
    return list(found.values())


def _service(job: _Labels) -> tuple[str, str]:
    """Return the service in which a job runs, or why it runs in none."""
    project, own = job.on.project, job.on.name
    if job.kind == "local":
        return "", "it runs in the scheduler's own container: use cron of the host"
    if job.kind == "exec":
        container = job.text("container")
        named = (name for name in project.services if _is_container(project, name, container))
        service = next(named, "") if container else own
        return service, "" if service else f"no service has the container {container}"
    image = job.text("image")
    if not image:
        return "", "it starts a container that is there: write its command as a job of a service"
    for name in project.services:
        if Draft(project, name).text("image") == image:
            return name, ""
    return "", f"it runs the image {image}, which no service has: a job runs the image of its service"


def _is_container(project: Project, name: str, container: str) -> bool:
    usual = (f"{project.name}{mark}{name}{mark}1" for mark in "-_")
    return container in (Draft(project, name).text("container_name"), name, *usual)


def _take(draft: Draft, job: _Labels, made: dict[str, object]) -> None:
    """Put a job into the schedule of a service, or note why it cannot be there."""
    try:
        when, words = _when(job), _words(job)
    except ValueError as wrong:
        draft.notes.append(job.problem(*wrong.args))
        return
    given: dict[str, object] = {"cron": when.cron}
    if zone := job.text("timezone") or when.timezone or _zone_of(draft.project, job.scheduler):
        given["timezone"] = zone
    if job.kind == "exec" and len(words) > 1:  # `docker exec` uses no entrypoint of the image
        given["entrypoint"], words = words[:1], words[1:]
    elif job.kind == "exec":
        given["entrypoint"] = ["env"]
    given["command"] = words
    if environment := _environment(job):
        given["env"] = environment
    made[_name(job, made)] = given
    if when.changed:
        draft.notes.append(job.problem(when.changed, "schedule" if job.scheduler == OFELIA else "cron"))
    for parameter in job.parameters:
        if why := _unfit(draft, job, parameter):
            draft.notes.append(job.problem(why, parameter))


def _when(job: _Labels) -> times.JobTimes:
    """Return the times of a job. Raise ValueError with the reason, and the parameter, where they cannot be had."""
    reads = {"schedule": times.of_go} if job.scheduler == OFELIA else _TIMES
    for parameter, read in reads.items():
        if text := job.text(parameter):
            try:
                return read(text)
            except ValueError as wrong:
                raise ValueError(str(wrong), parameter) from None
    if job.text("date"):
        raise ValueError("a job runs again and again: use `at` of the host for once", "date")
    raise ValueError("it does not say when it runs")


def _words(job: _Labels) -> list[str]:
    raw = job.parameters.get("command", (Raw(), ()))[0]
    try:
        words = split_words(job.text("command"), raw)
    except ValueError as wrong:
        raise ValueError(f"cannot be split into words: {wrong}", "command") from None
    if not words:
        raise ValueError("it runs the command of the image: a job names its own")
    return words


def _environment(job: _Labels) -> dict[str, Raw]:
    """Return the variables of a job: a list in JSON, or a single NAME=value; `env.NAME` of deck-chores."""
    found = {name.removeprefix("env."): raw for name, (raw, _) in job.parameters.items() if name.startswith("env.")}
    for parameter in ("environment", "env"):
        raw = job.parameters.get(parameter, (Raw(), ()))[0]
        try:
            each = json.loads(raw) if raw.startswith("[") else [raw]
        except ValueError:
            each = [raw]
        found |= {name: Raw(value) for name, _, value in (str(text).partition("=") for text in each) if name}
    return found


def _zone_of(project: Project, scheduler: str) -> str:
    """Return the timezone of the scheduler itself, where it is a service of the file."""
    for name, node in project.services.items():
        image = node.entries.get("image")
        if isinstance(image, Scalar) and last_of(image.text) == scheduler:
            raw, _ = (
                Draft(project, name).pairs("environment").get("TZ" if scheduler == OFELIA else "TIMEZONE", ("", ()))
            )
            return variables.filled(raw or "", project.known.get)
    return ""


def last_of(image: str) -> str:
    """Return the last part of the name of an image, without tag and digest."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[0]


def _name(job: _Labels, made: dict[str, object]) -> str:
    plain = re.sub(r"[^a-z0-9]+", "-", job.name.lower()).strip("-")
    plain = (plain if plain[:1].isalpha() else f"job-{plain}")[:SERVICE_LETTERS].rstrip("-")
    others = (f"{plain[: SERVICE_LETTERS - 4]}-{n}" for n in itertools.count(2))
    return next(name for name in itertools.chain((plain,), others) if name not in made)


def _unfit(draft: Draft, job: _Labels, parameter: str) -> str:
    """Return why a parameter of a job that is taken over is not; "" where it is, or says what is so anyway."""
    text = job.text(parameter)
    if parameter in _TAKEN or parameter in _SAME or parameter.startswith("env."):
        return ""
    if (parameter, text) in (("tty", "false"), ("max", "1"), ("user", draft.text("user"))):
        return ""
    return _REASONS.get(parameter, _NO_COUNTERPART)
