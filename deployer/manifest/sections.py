"""The sections of the manifest that are about instances: health, secrets, limits, hooks and the rest."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from deployer.manifest.base import Conflict, Count, Model, Number, Switch, twice
from deployer.manifest.hook import RolloutHook
from deployer.manifest.text import (
    EnvName,
    FilePath,
    Group,
    HeaderName,
    HeaderValue,
    Host,
    Name,
    Signal,
    Source,
    Statuses,
    Target,
    Text,
    UrlPath,
)
from deployer.manifest.units import Bytes, Seconds, Wait

HEALTH_KINDS: tuple[Literal["http", "tcp", "command", "docker", "running"], ...] = (
    "http",
    "tcp",
    "command",
    "docker",
    "running",
)


class Health(Model):
    """When an instance counts as healthy; each instance is checked directly, before it gets traffic.

    Choose one of `http`, `tcp`, `command`, `docker` and `running`; with none of them an accepted connection is enough,
    or, without a `port`, `running: 5s`.
    """

    http: UrlPath | None = Field(None, description="Path that must respond with `status`.")
    status: Statuses = Field("200-399", description="Statuses that mean healthy.")
    body: str | None = Field(None, description="Text that the response must contain.")
    header: dict[HeaderName, HeaderValue] = Field(
        default_factory=dict, description="Headers that the response must have."
    )
    host: Host | None = Field(None, description="Host header to send.")
    tcp: Switch = Field(False, description="An accepted connection is enough.")
    command: tuple[Text, ...] | None = Field(
        None, min_length=1, description="Command run in the instance; exit code 0 means healthy."
    )
    docker: Switch = Field(False, description="Use the HEALTHCHECK of the image.")
    running: Wait | None = Field(
        None, gt=0, description="It is enough to run for this time without an exit; for what listens on no port."
    )
    rise: Count = Field(2, ge=1, le=100, description="Passed probes in a row that make an instance healthy.")
    interval: Wait = Field(
        0.5,
        gt=0,
        description="Time between two probes; 0.1 s at most until the first of `http` or `tcp` has passed, for 2 s.",
    )
    timeout: Wait = Field(2.0, gt=0, description="Time a probe may take.")
    deadline: Wait = Field(30.0, gt=0, description="Time from start to healthy; then the release has failed.")

    def conflicts(self) -> Iterator[Conflict]:
        """Yield the keys that do not go together."""
        kinds = [k for k in HEALTH_KINDS if getattr(self, k)]
        if len(kinds) > 1:
            yield Conflict(
                kinds[1], f"there is `{kinds[0]}` already", f"choose one of {', '.join(kinds)}", tuple(kinds)
            )
        for key in ("body", "header", "host"):
            if getattr(self, key) and not self.http:
                yield Conflict(key, "says nothing without `http`", "add e.g. http: /up", ("http",))
        if self.running and self.running >= self.deadline:
            asked = f"{self.running:g} s do not fit in {self.deadline:g} s"
            yield Conflict("deadline", asked, "raise the deadline", ("running", "deadline"))
        elif (self.passes - 1) * self.interval >= self.deadline:
            asked = f"{self.passes} probes, {self.interval:g} s apart, do not fit in {self.deadline:g} s"
            yield Conflict("deadline", asked, "raise the deadline", ("rise", "interval", "deadline"))

    @property
    def kind(self) -> Literal["http", "tcp", "command", "docker", "running"]:
        """The kind of probe; a plain connection when nothing was chosen."""
        return next((kind for kind in HEALTH_KINDS if getattr(self, kind)), "tcp")

    @property
    def passes(self) -> int:
        """Passed probes in a row that make an instance healthy."""
        return math.ceil(self.running / self.interval) + 1 if self.running else self.rise


class SmokeTest(Model):
    """One request to the candidate through the proxy's preview route, before any user."""

    get: UrlPath = Field(description="Path to request.")
    expect: Statuses = Field("200", description="Statuses that pass.")
    body: str | None = Field(None, description="Text that the response must contain.")
    header: dict[HeaderName, HeaderValue] = Field(default_factory=dict, description="Headers to send.")
    timeout: Wait = Field(5.0, gt=0, description="Time limit for the response.")


class Secret(Model):
    """Where the value of a secret comes from, one of `env`, `file`, `command`, and how the instance gets it."""

    env: EnvName | None = Field(None, description="Environment variable of the deploying process.")
    file: FilePath | None = Field(None, description="File, relative to the manifest; a newline at its end is dropped.")
    command: tuple[Text, ...] | None = Field(
        None, min_length=1, description="Command that prints it within 30 s, e.g. [pass, show, shop/db]."
    )
    deliver: Literal["file", "env", "none"] = Field(
        "file",
        description="`file`: /run/secrets/NAME, its path in NAME_FILE. `env`: the variable itself, readable "
        "by everyone who may inspect the instance. `none`: not delivered, for `judge.metrics` and "
        "`notify`.",
    )

    def conflicts(self) -> Iterator[Conflict]:
        """Yield the keys that do not go together."""
        kinds = ("env", "file", "command")
        given = [k for k in kinds if getattr(self, k)]
        if len(given) != 1:
            known = (
                f"its value comes from {' and '.join(given)}" if given else "nothing says where its value comes from"
            )
            yield Conflict("", known, "name exactly one of env, file, command", kinds)


class Mount(Model):
    """A volume or a directory of the host inside the instance."""

    source: Source = Field(description="Absolute path of the host, or the name of a volume.")
    target: Target = Field(description="Absolute path in the instance.")
    read_only: Switch = Field(False, description="The instance may not write to it.")


class Limits(Model):
    """What an instance may use; without a limit, everything the host has."""

    cpus: Number | None = Field(None, ge=0.01, le=10_000, description="Processors, in parts too: 0.5 is half of one.")
    memory: Bytes | None = Field(None, ge=6 * 1024**2, description="Memory; an instance that wants more is killed.")
    pids: Count | None = Field(None, gt=0, le=2**22, description="Processes and threads.")


class Log(Model):
    """Log driver of the engine."""

    driver: Name = Field("json-file", description="Log driver.")
    options: dict[str, Text] = Field(
        default_factory=lambda: {"max-size": "10m", "max-file": "3"}, description="Its options."
    )


class StopSettings(Model):
    """How an instance is stopped."""

    signal: Signal = Field("SIGTERM", description="Signal that stops the instance.")
    grace: Wait = Field(10.0, description="Time from the signal to the kill.")
    drain: Wait = Field(30.0, description="Time for open requests to finish before the signal.")


class Hooks(Model):
    """Playbooks and commands, by the moment at which they run."""

    before: tuple[RolloutHook, ...] = Field((), description="Before anything starts; a failure stops the rollout.")
    after: tuple[RolloutHook, ...] = Field((), description="After the promotion.")
    on_failure: tuple[RolloutHook, ...] = Field((), description="After every outcome except a good one.")
    on_done: tuple[RolloutHook, ...] = Field((), description="After a successful rollout.")
    on_reverted: tuple[RolloutHook, ...] = Field((), description="After a rollout that was rolled back.")
    on_paused: tuple[RolloutHook, ...] = Field((), description="After a rollout was paused, waiting for a person.")
    on_needs_attention: tuple[RolloutHook, ...] = Field((), description="After a rollout that needs attention.")

    def conflicts(self) -> Iterator[Conflict]:
        """Yield the keys that do not go together."""
        for key in ("before", "on_failure", "on_reverted", "on_needs_attention"):
            for index, hook in enumerate(getattr(self, key)):
                if hook.where == "instance":
                    why = "there may be no new instance at that time"
                    yield Conflict(f"{key}[{index}].in", why, "in: here, or put it into `update`", (key,))


class Twin(Model):
    """Separate hosts for the green environment: blue runs on `hosts` of the manifest, green here; they alternate."""

    hosts: Group = Field(description="Inventory group, or an Ansible pattern.")


class CosignKeys(Model):
    """Cosign keys, one of which must have signed the image (`cosign sign --key`)."""

    key: FilePath | None = Field(None, description="Public key (PEM), relative to the manifest, e.g. cosign.pub.")
    keys: tuple[FilePath, ...] = Field(
        (), max_length=10, description="Several keys, each of which is enough; for key rotation."
    )
    transparency_log: Switch = Field(
        True, description="Require the signature in the public transparency log, too; `false` if you do not use it."
    )

    def conflicts(self) -> Iterator[Conflict]:
        """Yield the keys that do not go together."""
        if bool(self.key) == bool(self.keys):
            wrong = "there is `key` already" if self.key else "no key is named"
            yield Conflict("keys" if self.key else "", wrong, "e.g. key: cosign.pub", ("key", "keys"))
        yield from twice(self.keys, "keys")

    @property
    def names(self) -> tuple[str, ...]:
        """Files of all keys."""
        return (self.key,) if self.key else self.keys


class Verify(Model):
    """What must be verified about the image before an instance starts."""

    cosign: CosignKeys = Field(description="The image must be signed with one of these keys.")


class Keep(Model):
    """What stays after a rollout."""

    warm: Seconds = Field(
        3600.0, description="How long the previous environment keeps running for an instant rollback."
    )
    paused: Switch = Field(
        False,
        description="Pause the previous environment meanwhile: it keeps its memory, gets no processor time, and a "
        "rollback has it go on first. For lifecycle playbooks with pause.yml and resume.yml, such as `qemu`.",
    )
    releases: Count = Field(5, ge=1, le=1000, description="Releases whose images are never pruned.")
    events: Count = Field(
        500,
        ge=1,
        le=100_000,
        description="Finished rollouts whose events are kept; of older ones only the steps are kept.",
    )
