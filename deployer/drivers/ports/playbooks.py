"""What plays playbooks: for a rollout, and for the runtime that makes instances by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from deployer.core.clock import Deadline
from deployer.core.events import Tell
from deployer.core.host import Host
from deployer.model import Environment, Release

if TYPE_CHECKING:
    pass


class Playbooks(Protocol):
    """Rolls playbooks over hosts and instances."""

    def play(
        self,
        release: Release,
        environment: Environment | None,
        playbooks: Sequence[str],
        extra: dict[str, str],
        deadline: Deadline,
        tell: Tell,
    ) -> None:
        """Run the playbooks in order, telling each task. Raises StepFailed with task, host and message."""
        ...

    def command(
        self,
        release: Release,
        environment: Environment | None,
        words: Sequence[str],
        extra: dict[str, str],
        deadline: Deadline,
    ) -> tuple[int, str]:
        """Run a command on this host, in the folder of the manifest; return its exit code and the end of its output.

        Raises StepFailed when it cannot be started, DeadlinePassed when it takes too long.
        """
        ...


class Verbs(Protocol):
    """Plays the playbooks by which a runtime makes instances."""

    def require(self) -> None:
        """Raise Refused when playbooks cannot be played here."""
        ...

    def play(
        self, folder: Path, verbs: Sequence[str], host: Host, variables: Mapping[str, Any], deadline: Deadline
    ) -> Mapping[str, Any]:
        """Play some of the playbooks of a folder against a host, in order; return what they set as stats.

        Raises DriverFailed with verb, task, host and message, DeadlinePassed, and HostsUnreachable when the host
        cannot be reached.
        """
        ...
