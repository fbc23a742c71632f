"""The manifest `deploy.yml` as a frozen model; the JSON Schema is made from this same model.

Reference for people: docs/manifest.md, generated from the descriptions here and in `sections`.

A model is also what a release keeps: it is dumped with `mode="json"` and read back by `from_record`,
so each field must survive that round trip (units are dumped as plain numbers).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from deployer.core.limits import READABLE_LOGS
from deployer.manifest import chain, guest, image, migrations, portless, runtimes, scaled, schedule, single
from deployer.manifest.approval import Approval
from deployer.manifest.base import Conflict, Conflicts, Count, Model, Port, Switch, twice
from deployer.manifest.build import Build
from deployer.manifest.hook import RolloutHook
from deployer.manifest.incus import IncusSettings
from deployer.manifest.judge import ErrorLimits, Judge, LatencyLimits, WarmupSettings
from deployer.manifest.metrics import Metric
from deployer.manifest.migrations import MigrateSettings
from deployer.manifest.notify import Notify, Recipient
from deployer.manifest.scale import ScaleSettings
from deployer.manifest.schedule import Job
from deployer.manifest.sections import (
    Health,
    Hooks,
    Keep,
    Limits,
    Log,
    Mount,
    Secret,
    SmokeTest,
    StopSettings,
    Twin,
    Verify,
)
from deployer.manifest.strategy import Strategy
from deployer.manifest.swarm import SwarmSettings
from deployer.manifest.text import (
    EnvFiles,
    EnvName,
    FilePath,
    Freeze,
    Group,
    ImageName,
    Name,
    NetworkName,
    TenantName,
    Text,
    User,
    Version,
)
from deployer.manifest.tls import Tls as Tls
from deployer.manifest.traffic import (
    Budget,
    Force,
    HAProxy,
    Shield,
    Timeouts,
    TrafficSettings,
)

__all__ = [
    "Approval",
    "Budget",
    "Conflict",
    "Conflicts",
    "ErrorLimits",
    "Force",
    "HAProxy",
    "Health",
    "Hooks",
    "Job",
    "Judge",
    "Keep",
    "LatencyLimits",
    "Limits",
    "Log",
    "Manifest",
    "Metric",
    "Model",
    "Mount",
    "Notify",
    "Recipient",
    "Secret",
    "Shield",
    "SmokeTest",
    "StopSettings",
    "Strategy",
    "Timeouts",
    "Tls",
    "TrafficSettings",
    "Twin",
    "Verify",
    "WarmupSettings",
]


class Manifest(Model):
    """One service: what runs, how it is checked, how users reach it."""

    service: Name = Field(description="Name of the service.", examples=["shop"])
    image: ImageName = Field(
        description="Image (runtimes docker, swarm), directory (runtime process), or what the lifecycle playbooks of "
        "runtime ansible expect; `{version}` or a tag is replaced by the version. With `build`: the name of what "
        "is built, by default that of the service.",
        examples=["registry.example.com/shop"],
    )
    build: Build | None = Field(
        None, description="Build the image here, named by the Git revision; `.` is the folder of the manifest."
    )
    version: Version | None = Field(None, description="Version to deploy; `--version` replaces it.")
    port: Port | None = Field(
        None,
        description="Port on which an instance listens. With runtimes process and ansible each instance gets its own "
        "in $PORT. Leave it out for a worker, which no user reaches.",
    )
    single: Switch = Field(
        False,
        description="Never run two instances at once: the old one is stopped before the new one starts, in a rollback "
        "too (strategy `recreate`).",
    )
    runtime: Literal["docker", "process", "ansible", "incus", "swarm"] = Field(
        "docker", description="What runs the instances."
    )
    verbs: FilePath | None = Field(
        None,
        description="Lifecycle playbooks of runtime ansible: `systemd`, `lxc`, `qemu`, or a folder with create.yml, "
        "update.yml, start.yml, stop.yml and destroy.yml, relative to the manifest.",
    )
    hosts: Group = Field(
        "local",
        description="Inventory group (or Ansible pattern) of the hosts that run instances; `local` is this "
        "host, without an inventory.",
    )
    inventory: FilePath | None = Field(
        None,
        description="Ansible inventory: a file, folder or script relative to the manifest; default: the "
        "built-in one, in which every group is this host.",
    )
    swarm: SwarmSettings | None = Field(None, description="Placing by a Docker Swarm (runtime swarm).")
    incus: IncusSettings | None = Field(None, description="Where Incus has the instances (runtime incus).")
    twin: Twin | None = Field(None, description="Separate hosts for the green environment.")
    tenant: TenantName | None = Field(
        None, description="Tenant whose service it is: a guest on hosts that `tenants.yml` lends (docs/guests.md)."
    )
    replicas: Count = Field(1, ge=1, le=100, description="Instances on each host.")
    scale: ScaleSettings | None = Field(None, description="The number of instances follows the load (with a keeper).")
    max_unavailable: Count = Field(
        0,
        ge=0,
        le=1000,
        description="Unreachable hosts that a rollout tolerates at its start and until its instances are "
        "healthy; with more, it does not start, or rolls back.",
    )
    verify: Verify | None = Field(None, description="What must be verified about the image before an instance starts.")
    command: tuple[Text, ...] | None = Field(
        None,
        min_length=1,
        description="Replaces the command of the image; required for runtime process and lifecycle playbooks systemd.",
    )
    entrypoint: tuple[Text, ...] | None = Field(
        None, min_length=1, description="Replaces the entrypoint of the image, and with it the command of the image."
    )
    env: dict[EnvName, Text] = Field(
        default_factory=dict, description="Environment variables of the instances; these win over `env_file`."
    )
    env_file: EnvFiles = Field(
        (),
        description="Files with NAME=value on each line, as Compose reads them; a later one wins over an earlier one.",
    )
    secrets: dict[EnvName, Secret] = Field(
        default_factory=dict,
        description="Secrets by name; a plain list takes each from the environment variable of the same name.",
    )
    mounts: tuple[Mount, ...] = Field(
        (),
        description="Volumes and directories of the host inside the instances. Runtime process: the folders that they "
        "write to, each with one path as source and target.",
    )
    networks: tuple[NetworkName, ...] = Field((), description="Networks of the engine to join besides its default.")
    limits: Limits = Field(Limits(), description="What an instance may use.")
    user: User | None = Field(None, description="User in the instance; else the user of the image.")
    read_only: Switch = Field(False, description="Mount the root file system read-only.")
    log: Log = Field(Log(), description="Where the output of instances is logged.")
    stop: StopSettings = Field(StopSettings(), description="How an instance is stopped, and how long that may take.")
    health: Health = Field(Health(), description="When an instance counts as healthy.")
    update: tuple[RolloutHook, ...] = Field(
        (), description="Playbooks and commands run on the new environment before it gets traffic."
    )
    smoke: tuple[SmokeTest, ...] = Field(
        (), description="Requests that the candidate must pass before it gets traffic."
    )
    hooks: Hooks = Field(Hooks(), description="Playbooks and commands run around a rollout.")
    traffic: TrafficSettings = Field(
        TrafficSettings(), description="How users reach the service: addresses, domains, TLS, stickiness."
    )
    strategy: Strategy = Field("canary", description="Strategy of `deploy up`, with its options.")
    approve: Approval | None = Field(None, description="People who must approve before all users get a release.")
    migrate: MigrateSettings | None = Field(None, description="What changes the database for a release, in two steps.")
    judge: Judge = Field(Judge(), description="When the candidate counts as worse.")
    notify: Notify = Field(Notify(), description="Notifications about rollouts, to chats or as signed requests.")
    keep: Keep = Field(Keep(), description="What is kept after a rollout, and for how long.")
    schedule: dict[Name, Job] = Field(
        default_factory=dict, description="Jobs by name: commands of the live release that run at their times."
    )
    freeze: tuple[Freeze, ...] = Field(
        (),
        description="Times (of this host) in which no rollout may start, weekly or daily, e.g. `Fri 16:00-Mon "
        "08:00` or `22:00-06:00`.",
    )

    @model_validator(mode="before")
    @classmethod
    def _name_of_the_built(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("build") and data.get("image") is None and data.get("service"):
            return {**data, "image": data["service"]}
        return data

    @model_validator(mode="before")
    @classmethod
    def _secret_names(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("secrets"), list | tuple):
            names = data["secrets"]
            if all(isinstance(n, str) for n in names):
                data = {**data, "secrets": {n: {"env": n} for n in names}}
        return data

    @model_validator(mode="before")
    @classmethod
    def _health_without_port(cls, data: Any) -> Any:
        return portless.with_health(data)

    @model_validator(mode="before")
    @classmethod
    def _single_is_replaced(cls, data: Any) -> Any:
        return single.with_strategy(data)

    def conflicts(self) -> Iterator[Conflict]:
        """Yield the keys that do not go together."""
        yield from self._image_conflicts()
        yield from self._build_conflicts()
        if self.port is None:
            yield from portless.conflicts(self.traffic, self.health, self.judge, smoke=bool(self.smoke))
        if self.single:
            yield from single.conflicts(self.strategy_name, self.replicas)
        yield from scaled.conflicts(self)
        yield from twice((m.target for m in self.mounts), "mounts")
        yield from twice(self.networks, "networks")
        yield from self._variable_conflicts()
        yield from self._auth_conflicts()
        yield from self._log_conflicts()
        yield from schedule.conflicts(self.schedule, self.runtime, self.secrets)
        yield from migrations.conflicts(self.migrate, self.runtime)
        yield from runtimes.conflicts(self)
        yield from guest.conflicts(self)
        if self.twin and self.hosts == "local":
            needs = ("twin", "hosts")
            yield Conflict("twin", "`hosts` is this host", "name a group of the inventory in `hosts`", needs)
        if not self.traffic.proxies.local and self.hosts == "local" and self.runtime != "swarm":
            why = "proxies on other hosts do not reach instances of this one, which listen on 127.0.0.1"
            yield Conflict("traffic.proxies", why, "name a group in `hosts`, too", ("traffic.proxies", "hosts"))
        yield from chain.conflicts(self.service, self.traffic.chain)
        if self.smoke and self.traffic.mode == "tcp":
            why = "smoke tests are HTTP requests, and this is a tcp service"
            yield Conflict("smoke", why, "check it by `health`", ("smoke", "traffic.mode"))

    def _image_conflicts(self) -> Iterator[Conflict]:
        if self.runtime not in runtimes.OF_ENGINES:
            return
        if not image.is_reference(self.image.replace("{version}", "1")):
            example = "e.g. registry.example.com/shop:1.0; names are lower-case"
            yield Conflict("image", f"{self.image} is not the reference of an image", example, ("image", "runtime"))
        if self.build and "@" in self.image:
            yield Conflict("image", "what is built has no digest yet", "name it without one", ("image", "build"))
        elif self.version and "@" in self.image:
            yield Conflict(
                "version", "the image is pinned by a digest", "remove one of them", ("image", "runtime", "version")
            )

    def _build_conflicts(self) -> Iterator[Conflict]:
        if self.build is None:
            return
        if self.runtime not in runtimes.OF_ENGINES:
            yield Conflict("build", f"runtime {self.runtime} does not support it", "remove it", ("runtime", "build"))
        if self.verify:
            why = "what is built here has no signature in a registry"
            yield Conflict("verify", why, "remove it, or deploy an image of a pipeline that signs", ("verify", "build"))
        yield from twice(self.build.secrets, "build.secrets")

    def _auth_conflicts(self) -> Iterator[Conflict]:
        for at, name in self._ours():
            if name not in self.secrets:
                example = f"secrets: {{{name}: {{env: {name}, deliver: none}}}}"
                yield Conflict(at, f"there is no secret {name}", f"add e.g. {example}", (at, "secrets"))

    def _log_conflicts(self) -> Iterator[Conflict]:
        unread = ""
        if self.runtime == "ansible":
            unread = "runtime ansible would play a playbook for each look at a log"
        elif self.runtime in runtimes.OF_ENGINES and self.log.driver not in READABLE_LOGS:
            unread = f"logs of the driver {self.log.driver} cannot be read"
        for index, metric in enumerate(self.judge.metrics):
            if metric.logs and unread:
                at = f"judge.metrics[{index}].logs"
                yield Conflict(at, unread, "choose another source", (at, "runtime", "log.driver"))

    def _ours(self) -> Iterator[tuple[str, str]]:
        """Yield each key that names a secret for ourselves, with the name."""
        for index, name in enumerate(self.build.secrets if self.build else ()):
            yield f"build.secrets[{index}]", name
        for index, metric in enumerate(self.judge.metrics):
            for key, name in metric.auth.secrets() if metric.auth else ():
                yield f"judge.metrics[{index}].auth.{key}", name
        for index, recipient in enumerate(self.notify.to):
            yield from ((f"notify.to[{index}].{key}", name) for key, name in recipient.secrets())

    def _variable_conflicts(self) -> Iterator[Conflict]:
        for name, secret in self.secrets.items():
            if secret.deliver == "none":
                continue
            made = name if secret.deliver == "env" else f"{name}_FILE"
            needs = (f"secrets.{name}", f"env.{name}", f"env.{made}")
            if name in self.env:
                yield Conflict(f"env.{name}", "there is a secret of this name", "remove one of them", needs)
            elif made in self.env:
                yield Conflict(f"env.{made}", f"the secret {name} sets this variable", "remove one of them", needs)

    @property
    def playbooks(self) -> tuple[str, ...]:
        """Playbooks that a rollout may run."""
        hooks = (self.update, *(getattr(self.hooks, key) for key in Hooks.model_fields))
        parts = self.migrate.hooks if self.migrate else ()
        return tuple(hook.playbook for some in (*hooks, parts) for hook in some if hook.playbook)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Self:
        """Read back what a release recorded with `record()`."""
        return cls.model_validate(record)

    def record(self) -> dict[str, Any]:
        """Return plain JSON data from which `from_record` makes the same manifest."""
        return self.model_dump(mode="json")

    @property
    def strategy_name(self) -> str:
        """Name of the strategy that `deploy up` uses."""
        return self.strategy if isinstance(self.strategy, str) else next(iter(self.strategy))

    @property
    def host_pattern(self) -> str:
        """Pattern of Ansible's for the hosts that run instances, the twin's included; empty for this host."""
        if self.hosts == "local":
            return ""
        return f"{self.hosts}:{self.twin.hosts}" if self.twin else self.hosts

    def strategy_options(self, name: str) -> dict[str, Any]:
        """Options the manifest gives to the strategy `name`; empty when it configures another one."""
        return dict(self.strategy.get(name, {})) if isinstance(self.strategy, dict) else {}

    def image_for(self, version: str | None) -> str:
        """Return the image reference of a version: `{version}` filled in, or the tag replaced.

        Raise ValueError when the image has a digest and a version is asked for.
        """
        return image.of_version(self.image, version or self.version, tagged=self.runtime in runtimes.OF_ENGINES)
