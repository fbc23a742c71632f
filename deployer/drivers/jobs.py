"""What a run of a job asks of the world: a Protocol of its own, which the runtimes `docker` and `process` implement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from deployer.core.clock import Deadline
from deployer.model import Release, SecretText

if TYPE_CHECKING:
    from deployer.manifest.schedule import Job
    from deployer.manifest.sections import Limits


@dataclass(frozen=True)
class Once:
    """What a run does that is no job of the manifest: a command, with variables of its own; `at` is its key there."""

    at: str
    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    entrypoint: tuple[str, ...] | None = None
    limits: Limits | None = None


@dataclass(frozen=True)
class JobSpec:
    """What a run must be: a job of a release, with the number of the run, or something else that it does `once`.

    `host` is "" for this one.
    """

    release: Release
    job: str
    number: int
    secrets: dict[str, SecretText] = field(default_factory=dict)
    host: str = ""
    once: Once | None = None

    @property
    def name(self) -> str:
        """Name of the run, unique on all hosts: `shop.nightly.7`. No instance has a dot in its name."""
        return f"{self.release.service}.{self.job}.{self.number}"

    @property
    def settings(self) -> Job | Once:
        """The job as its release has it, or what is done once."""
        return self.once or self.release.manifest.schedule[self.job]

    @property
    def at(self) -> str:
        """The key of the manifest that has its command."""
        return self.once.at if self.once else f"schedule.{self.job}.command"


@dataclass(frozen=True)
class FoundRun:
    """A run as the runtime sees it now. `exit_code` is None while it runs, and where nobody saw its end."""

    service: str
    job: str
    number: int
    state: Literal["created", "running", "exited"]
    exit_code: int | None = None
    host: str = ""

    @property
    def name(self) -> str:
        """Name of the run."""
        return f"{self.service}.{self.job}.{self.number}"


class JobRuntime(Protocol):
    """Runs jobs beside the instances of a service. Owns only what it made; an instance is never one of its runs.

    Raise DriverFailed for trouble outside, and Unreachable for a host that gives no answer.
    """

    def start(self, spec: JobSpec, deadline: Deadline) -> None:
        """Start a run; of one that does not start, nothing is left."""
        ...

    def read(self, name: str, host: str, /) -> FoundRun | None:
        """Read a run; None when there is none of that name."""
        ...

    def follow(
        self, name: str, host: str, write: Callable[[bytes], None], deadline: Deadline, stopped: Callable[[], bool], /
    ) -> None:
        """Pass on all that a run prints, from its beginning, until it ends, `stopped` says so, or the time is over."""
        ...

    def remove(self, name: str, host: str, grace: float, deadline: Deadline, /) -> None:
        """Signal the run if it goes on, wait up to `grace` seconds, kill, remove. One that is gone is no error."""
        ...

    def list_all(self) -> tuple[FoundRun, ...]:
        """Read all runs of this installation that are there, whether they go on or not."""
        ...
