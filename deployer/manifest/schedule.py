"""The section `schedule` of the manifest: jobs of the service, and when they run."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Annotated

from pydantic import Field

from deployer.core import cron
from deployer.manifest.base import Conflict, Model
from deployer.manifest.sections import Limits
from deployer.manifest.text import EnvName, Spelt, Text
from deployer.manifest.units import Seconds, Wait

LONGEST_LATE = 7 * 86_400.0  # seconds

Cron = Annotated[
    str,
    Spelt(
        "cron expression",
        r"[@0-9A-Za-z*,/#-]+( +[0-9A-Za-z*,/#-]+)*",
        "a cron expression: minute, hour, day, month, weekday",
        "10 3 * * * or @daily",
        cron.mistake,
    ),
]
Timezone = Annotated[
    str,
    Spelt(
        "timezone",
        r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*",
        "a timezone of the IANA database",
        "Europe/Berlin",
        cron.unknown_timezone,
    ),
]


class RunLimits(Limits):
    """What a run may use; without a limit, everything the host has."""


class Job(Model):
    """A command that is run at its times, in a container (or process) of the live release of its own."""

    cron: Cron = Field(description="When it runs: minute, hour, day of the month, month, weekday; or `@daily`.")
    timezone: Timezone = Field("UTC", description="Timezone of `cron`.")
    command: tuple[Text, ...] = Field(min_length=1, description="What is run, with the image's entrypoint.")
    entrypoint: tuple[Text, ...] | None = Field(
        None, min_length=1, description="Replaces the entrypoint of the image and of the service."
    )
    env: dict[EnvName, Text] = Field(
        default_factory=dict, description="Environment variables besides those of the service; these win."
    )
    limits: RunLimits | None = Field(None, description="What a run may use; by default what an instance may use.")
    timeout: Wait = Field(3600.0, gt=0, description="Time a run may take; then it is stopped and has failed.")
    late: Seconds = Field(
        3600.0,
        le=LONGEST_LATE,
        description="How late a run may still start if nothing ran it at its time; a run that is missed by more is "
        "left out.",
    )


def conflicts(jobs: Mapping[str, Job], runtime: str, secrets: Collection[str]) -> Iterator[Conflict]:
    """Return the keys of jobs that do not go with the runtime or with secrets of the manifest."""
    for name, job in jobs.items():
        at = f"schedule.{name}"
        if runtime in ("ansible", "incus", "swarm"):
            yield Conflict(at, f"runtime {runtime} runs no jobs", "use cron of its hosts", ("runtime", at))
        if runtime == "process":
            for key in ("entrypoint", "limits"):
                if getattr(job, key):
                    why = "runtime process does not support it"
                    yield Conflict(f"{at}.{key}", why, "remove it", ("runtime", f"{at}.{key}"))
        for variable in job.env:
            secret = variable.removesuffix("_FILE")
            if variable in secrets or secret in secrets:
                known = f"the secret {variable if variable in secrets else secret} sets this variable"
                yield Conflict(f"{at}.env.{variable}", known, "remove one of them", (f"{at}.env.{variable}", "secrets"))
