"""What the engine asks of the world: the Protocols that drivers implement.

Every call that waits for something takes a `Deadline`; one without it only asks, and has its answer or fails within
`READ_SECONDS`. A driver raises DriverFailed (or DeadlinePassed) and nothing else for trouble outside; a call that
returned without an error has been read back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from deployer.core.clock import Deadline
from deployer.core.errors import MachinesSilent
from deployer.core.events import Tell
from deployer.core.host import Host
from deployer.model import (
    Colour,
    Environment,
    Instance,
    InstanceSpec,
    Live,
    MeasuredTraffic,
    Place,
    Release,
    Sample,
    SecretText,
    Server,
    Signature,
)

if TYPE_CHECKING:
    from deployer.drivers.notices import Notice
    from deployer.manifest.build import Build
    from deployer.manifest.models import Manifest, Metric, Recipient
    from deployer.planning.certificates import ServedCertificate

READ_SECONDS = 20.0  # for a call without a deadline of its own


@dataclass(frozen=True)
class Image:
    """What an image reference means now: an immutable id, and how registries name the same content (NAME@DIGEST)."""

    reference: str
    id: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """An instance that a deployer made, this one or another: whose it is, and what it carries of its release.

    `installation` names the store that it belongs to, `home` the machine and the state folder in which that store lay;
    `record` is what `deployer.planning.release_record` reads, empty where there is none.
    """

    instance: Instance
    installation: str
    home: str = ""
    record: str = ""


class Runtime(Protocol):
    """Runs instances. Owns only what it made, by name and record; never touches anything else.

    One that runs them on many machines raises MachinesSilent, a DriverFailed, when one of them gives no answer; what
    reads all of them gives with it what the others said.
    """

    def resolve(self, manifest: Manifest, reference: str, deadline: Deadline, tell: Tell) -> Image:
        """Fetch the image if it is not here and pin it. Raises Refused when it cannot be had."""
        ...

    def instances(self, service: str) -> tuple[Instance, ...]:
        """Read all instances of the service, whatever their state, ordered by release and index."""
        ...

    def ensure(self, spec: InstanceSpec, deadline: Deadline) -> Instance:
        """Make the instance run as specified; one that runs already so is left alone."""
        ...

    def remove(self, instance: Instance, grace: float, deadline: Deadline) -> None:
        """Signal the instance, wait up to `grace` seconds, kill, remove. One that is gone is no error."""
        ...

    def logs(self, instance: Instance, lines: int) -> tuple[str, ...]:
        """Give the last lines that the instance wrote; empty when there is nothing to read."""
        ...

    def count_lines(self, instance: Instance, pattern: re.Pattern[str], seconds: float, deadline: Deadline) -> int:
        """Return in how many lines that the instance wrote in the last seconds the pattern is found."""
        ...

    def run(self, instance: Instance, command: Sequence[str], deadline: Deadline) -> tuple[int, str]:
        """Run a command in the instance; give its exit code and what it printed."""
        ...

    def check_release(self, release: Release) -> None:
        """Raise ImageGone when what instances of the release are made of, its image or files, is not there any more."""
        ...

    def prune(self, keep: Sequence[Release], drop: Sequence[Release]) -> tuple[str, ...]:
        """Remove images of `drop` that no release in `keep` and no instance uses; give what was removed."""
        ...


class RuntimeCare(Runtime, Protocol):
    """A runtime, and what only `deploy doctor` and `deploy adopt` ask of it: what is there beside what is known."""

    def list_all(self) -> tuple[Found, ...]:
        """Read every instance there is that a deployer made, of any service and any store."""
        ...

    def foreign(self, service: str) -> tuple[str, ...]:
        """Name what has the name or the marks of an instance of the service, and was not made by us: never touched."""
        ...

    def garbage(self, keep: Sequence[Release]) -> tuple[str, ...]:
        """Name what is ours and that no release in `keep` and no instance has: images, snapshots, half-made things."""
        ...

    def collect_garbage(self, keep: Sequence[Release]) -> tuple[str, ...]:
        """Remove what `garbage` names; return what was removed."""
        ...


@dataclass(frozen=True)
class Running:
    """What stands of a service as far as it was seen; `silent` are the machines that gave no answer, and why."""

    instances: tuple[Instance, ...]
    silent: Mapping[str, str]


def standing(runtime: Runtime, service: str) -> Running:
    """Read what stands of a service, but on machines that are silent. Raises DriverFailed for all other trouble."""
    try:
        return Running(runtime.instances(service), {})
    except MachinesSilent as error:
        return Running(error.seen, error.silent)


class Samples(Protocol):
    """The requests of a service as they are answered."""

    def take(self) -> Sample:
        """Give what was answered since the last call; never waits."""
        ...


@dataclass(frozen=True)
class Drift:
    """Where a proxy and its files differ: what is so, and whether `repair` puts it right; else what does."""

    text: str
    repairable: bool = True
    remedy: str = ""


NOTHING: Mapping[str, Live] = MappingProxyType({})


class Traffic(Protocol):
    """Moves users between the colours of a service."""

    def configure(self, release: Release, place: Place | None, deadline: Deadline) -> None:
        """Make the proxy treat the service as the release's manifest says; nothing changes for other services.

        With a place: its backend (health checks, protocol, time-outs); a service that is new gets its entry
        (addresses, names, certificates, stickiness) too, with the traffic as `model.INITIAL`. Without a place: the
        entry, and what both colours share; a baseline ends. Raises Refused when the proxy refuses the configuration;
        the running one is then untouched.
        """
        ...

    def read(self, service: str) -> Live | None:
        """Read what the proxy does now, from every worker; None when it does not know the service."""
        ...

    def set_traffic(self, service: str, live: Live, deadline: Deadline, given: Live | None = None) -> None:
        """Write the value to file and to every worker, and read it back.

        Raises NoServerUp, changing nothing, when a place that is to get users has no server that is up. What
        was spent of the budget is kept as long as the rollout is the same. `given` is what the caller wrote before:
        raises TakenBack, changing nothing, when somebody has ended that share since.
        """
        ...

    def introduce(self, service: str, place: Place, servers: Sequence[Server], deadline: Deadline) -> None:
        """Begin the proxy's own checks of servers that are new to it; they get no request before they are attached."""
        ...

    def attach(self, service: str, place: Place, servers: Sequence[Server], deadline: Deadline) -> None:
        """Make the place have these servers (others of it stay); wait until the proxy's own checks passed."""
        ...

    def drain(self, service: str, place: Place, names: Sequence[str], deadline: Deadline) -> int:
        """Give the servers no new requests, wait until none is running; give the number open at the deadline."""
        ...

    def hand_over(self, service: str, place: Place, part: float, deadline: Deadline) -> int:
        """Close this part of the WebSockets and tcp sessions that are open at the place, one at least if there is one.

        Their clients connect again to where users are sent now. Requests are left alone, however long they take.
        Return how many were closed: none when none was open.
        """
        ...

    def detach(self, service: str, place: Place, names: Sequence[str], deadline: Deadline) -> None:
        """Make the proxy forget the servers, cutting what is still open on them. Unknown names are no error.

        A baseline ends with its last server.
        """
        ...

    def servers(self, service: str, place: Place) -> tuple[tuple[Server, bool], ...]:
        """Read the servers of the place and whether the proxy finds each one up."""
        ...

    def preview(self, service: str) -> tuple[str, dict[str, str]]:
        """Give base URL and headers with which a request reaches the candidate before any user."""
        ...

    def spent(self, service: str) -> int:
        """Read how many failed responses of the candidate users have seen in the rollout of the live value.

        Counted by every worker, and kept over reloads and restarts of the proxy; 0 where there is no budget.
        """
        ...

    def samples(self, service: str) -> AbstractContextManager[Samples]:
        """Open the stream of requests of the service."""
        ...

    def forget(self, service: str, deadline: Deadline) -> None:
        """Remove the service from the proxy."""
        ...


class TrafficCare(Traffic, Protocol):
    """A proxy, and what is asked of it beside a rollout.

    Whether it can do what a manifest says, what passes through it, and whether it agrees with its files.
    """

    def check(self, manifest: Manifest, deadline: Deadline) -> None:
        """Raise Refused when `configure` could not do, now or at the promotion, what the manifest says.

        Nothing is changed by it.
        """
        ...

    def install(self, given: Sequence[ServedCertificate], deadline: Deadline) -> None:
        """Serve these certificates, without a reload where the proxy has the domain; read back by a handshake.

        A placeholder is kept only where the proxy has nothing for the domain.
        """
        ...

    def certificates(self, service: str) -> Mapping[str, Mapping[str, str]]:
        """Return the certificate, PEM, that each proxy shows for each domain of a service, as a handshake reads it.

        By the name of the proxy's host ("" is this one), then by domain ("" where the service has none). Nothing for a
        service without TLS.
        """
        ...

    def measured(self, service: str) -> MeasuredTraffic | None:
        """Return how many requests come; None when the proxy does not know the service, or counts since just now."""
        ...

    def connections(self, service: str) -> Mapping[Place, int]:
        """Return how many requests and connections are open at each place, at every worker."""
        ...

    def reachable(self) -> tuple[TrafficCare, Mapping[str, str]]:
        """Give the driver of those of several proxies that answer now, and why the others do not, by machine.

        It is for looking: nothing is changed through it, as all change together or none does.
        """
        ...

    def services(self) -> tuple[str, ...]:
        """Name the services that the proxy's files know, sorted; nothing is asked or started."""
        ...

    def drift(self, service: str) -> tuple[Drift, ...]:
        """Compare the files with what they should be, and every worker with the files; nothing is changed."""
        ...

    def repair(self, service: str, deadline: Deadline, lost: Mapping[str, Live] = NOTHING) -> None:
        """Make files and workers agree: the files are what holds, or what the proxy does where they are lost.

        `lost` are the live values, by service, that hold where both are.
        Raises DriverFailed, moving nobody, when users would be sent where no server is up.
        """
        ...


class Checks(Protocol):
    """Asks instances and the candidate how they are."""

    def probe(self, manifest: Manifest, instance: Instance, deadline: Deadline) -> str:
        """Probe once; give "" for a pass, else what was seen ("HTTP 503, expected 200-399")."""
        ...

    def smoke(self, manifest: Manifest, base: str, headers: dict[str, str], deadline: Deadline) -> str:
        """Run all smoke tests against the preview route; give "" for a pass, else what failed."""
        ...


class Playbooks(Protocol):
    """Rolls playbooks over machines and instances."""

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
        """Run a command on this host, in the folder of the manifest; give its exit code and the end of its output.

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
        """Play some of the playbooks of a folder against a machine, in order; give what they set as stats.

        Raises DriverFailed with verb, task, host and message, DeadlinePassed, and MachinesSilent when the machine
        cannot be reached.
        """
        ...


@dataclass(frozen=True)
class MetricSide:
    """Whom a metric is asked about: stable or candidate, with what tells its instances from the others."""

    side: Literal["stable", "candidate"]
    service: str
    colour: Colour
    release: int
    version: str

    def words(self) -> dict[str, str]:
        """Give what stands for the words in braces of a metric."""
        return {name: str(value) for name, value in asdict(self).items()}


class MetricSources(Protocol):
    """Asks sources of numbers that are not ours."""

    def read(
        self, metric: Metric, side: MetricSide, secrets: Mapping[str, SecretText], deadline: Deadline
    ) -> float | None:
        """Give the metric's value for a side now, a finite number; None when the source has no data on it.

        Raises DriverFailed, naming the source, when it does not respond or answers something else than one number.
        """
        ...


class Builder(Protocol):
    """Builds images."""

    def build(
        self,
        build: Build,
        tag: str,
        secrets: Mapping[str, SecretText],
        deadline: Deadline,
        tell: Tell,
        stopped: Callable[[], bool],
    ) -> str:
        """Build the image and name it `tag`; return its id. Of a build that failed, nothing but its cache is left.

        Raise Refused where something is missing to build with, DriverFailed with the last lines of a failed build, and
        Aborted once `stopped` says so.
        """
        ...


class Signatures(Protocol):
    """Proves who signed an image."""

    def prove(self, manifest: Manifest, image: Image, known: Sequence[Signature], deadline: Deadline) -> Signature:
        """Give a signature of the image by a key of the manifest, one of the `known` ones of this image if it is.

        Raises Refused, with what was checked, when there is none or it cannot be proven within the deadline.
        """
        ...


class Notifier(Protocol):
    """Tells people elsewhere; for a house, not for a service: it changes nothing, and holds nothing open."""

    def send(self, recipient: Recipient, notice: Notice, secrets: Mapping[str, SecretText], deadline: Deadline) -> None:
        """Send a notice once. Raises NotSent, with none of the secrets in its words.

        It is called where nobody waits for it: a way with time-outs of its own need not know the deadline.
        """
        ...


class EngineDrivers(Protocol):
    """The drivers of one service, as far as a rollout needs them."""

    @property
    def runtime(self) -> Runtime:
        """Where its instances run."""
        ...

    @property
    def traffic(self) -> Traffic:
        """Where its users are sent."""
        ...

    @property
    def checks(self) -> Checks:
        """How its instances are asked how they are."""
        ...

    @property
    def playbooks(self) -> Playbooks:
        """What is done beside it."""
        ...

    @property
    def metrics(self) -> MetricSources:
        """Whose numbers are compared, too."""
        ...


@dataclass(frozen=True)
class Drivers:
    """The drivers of one service."""

    runtime: RuntimeCare
    traffic: TrafficCare
    checks: Checks
    playbooks: Playbooks
    metrics: MetricSources
    signatures: Signatures
    builder: Builder
