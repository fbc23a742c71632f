"""The manifest `deploy.yml` as frozen models; the JSON Schema is made from these same models.

Reference for people: docs/manifest.md, generated from the descriptions below.

A model is also what a release keeps: it is dumped with `mode="json"` and read back by `from_record`,
so each field must survive that round trip (units are dumped as plain numbers).
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from deployer.manifest.units import Bytes, Percent, Ratio, Seconds

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,39}$")]
EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=128)]
Port = Annotated[int, Field(ge=1, le=65535)]
Domain = Annotated[
    str,
    StringConstraints(
        pattern=r"^(\*\.)?([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=253
    ),
]
UrlPath = Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*$", max_length=1024)]
HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,64}$")]
HeaderValue = Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e]*$", max_length=1024)]
CookieName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Network = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F.:]+(/\d{1,3})?$")]
Listen = Annotated[str, StringConstraints(pattern=r"^(\*|\[[0-9a-fA-F:]+\]|[0-9.]+):\d{1,5}$")]
Freeze = Annotated[
    str,
    StringConstraints(
        pattern=r"^((Mon|Tue|Wed|Thu|Fri|Sat|Sun) )?([01]\d|2[0-3]):[0-5]\d-((Mon|Tue|Wed|Thu|Fri|Sat|Sun) )?([01]\d|2[0-3]):[0-5]\d$"
    ),
]


def _text(value: Any) -> Any:
    """Take numbers and booleans of YAML for what the user typed: environment values are text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


Text = Annotated[str, BeforeValidator(_text)]


class Model(BaseModel):
    """Strict base: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Health(Model):
    """When an instance counts as healthy; asked of each instance directly, before it sees a user."""

    http: UrlPath | None = Field(None, description="Path that must answer with `status`.")
    status: str = Field(
        "200-399", pattern=r"^\d{3}(-\d{3})?(,\d{3}(-\d{3})?)*$", description="Statuses that mean healthy."
    )
    body: str | None = Field(None, description="Text that the answer must contain.")
    header: dict[HeaderName, HeaderValue] = Field(
        default_factory=dict, description="Headers that the answer must carry."
    )
    host: str | None = Field(None, description="Host header to send.")
    tcp: bool = Field(False, description="An accepted connection is enough.")
    command: tuple[str, ...] | None = Field(None, description="Command run in the instance; exit code 0 means healthy.")
    docker: bool = Field(False, description="Use the HEALTHCHECK of the image.")
    rise: int = Field(2, ge=1, le=100, description="Passed probes in a row that make an instance healthy.")
    interval: Seconds = Field(0.5, gt=0, description="Time between two probes.")
    timeout: Seconds = Field(2.0, gt=0, description="Time a probe may take.")
    deadline: Seconds = Field(30.0, gt=0, description="Time from start to healthy; then the release has failed.")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = [k for k in ("http", "tcp", "command", "docker") if getattr(self, k)]
        if len(kinds) > 1:
            raise ValueError(f"choose one of {', '.join(kinds)}")
        return self

    @property
    def kind(self) -> Literal["http", "tcp", "command", "docker"]:
        """The kind of probe; a plain connection when nothing was chosen."""
        for kind in ("http", "command", "docker"):
            if getattr(self, kind):
                return kind
        return "tcp"


class Smoke(Model):
    """One request to the candidate through the proxy's preview route, before any user."""

    get: UrlPath = Field(description="Path to request.")
    expect: str = Field("200", pattern=r"^\d{3}(-\d{3})?(,\d{3}(-\d{3})?)*$", description="Statuses that pass.")
    body: str | None = Field(None, description="Text that the answer must contain.")
    header: dict[HeaderName, HeaderValue] = Field(default_factory=dict, description="Headers to send.")
    timeout: Seconds = Field(5.0, gt=0, description="Time the answer may take.")


class Secret(Model):
    """Where the value of a secret comes from, and how the instance gets it."""

    env: EnvName | None = Field(None, description="Environment variable of the deploying process.")
    file: str | None = Field(None, description="File; a trailing newline is dropped.")
    command: tuple[str, ...] | None = Field(None, description="Command that prints it, e.g. [pass, show, shop/db].")
    deliver: Literal["file", "env"] = Field(
        "file",
        description="`file`: /run/secrets/NAME, its path in NAME_FILE. `env`: the variable itself, which whoever may inspect the instance can read.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [k for k in ("env", "file", "command") if getattr(self, k)]
        if len(given) != 1:
            raise ValueError("name exactly one of env, file, command")
        return self


class Mount(Model):
    """A volume or a directory of the host inside the instance."""

    source: str = Field(
        min_length=1, pattern=r"^[^\x00-\x1f,:]+$", description="Absolute path of the host, or the name of a volume."
    )
    target: str = Field(pattern=r"^/[^\x00-\x1f,:]*$", description="Absolute path in the instance.")
    read_only: bool = False


class Limits(Model):
    """What an instance may use."""

    cpus: float | None = Field(None, gt=0)
    memory: Bytes | None = None
    pids: int | None = Field(None, gt=0)


class Log(Model):
    """Log driver of the engine."""

    driver: Name = "json-file"
    options: dict[str, Text] = Field(default_factory=lambda: {"max-size": "10m", "max-file": "3"})


class Stop(Model):
    """How an instance is asked to end."""

    signal: str = Field("SIGTERM", pattern=r"^SIG[A-Z0-9]+$")
    grace: Seconds = Field(10.0, description="Time from the signal to the kill.")
    drain: Seconds = Field(30.0, description="Time that running requests get before the signal.")


class Hooks(Model):
    """Playbooks run around a rollout; paths are relative to the manifest."""

    before: tuple[str, ...] = Field((), description="Before anything starts; a failure stops the rollout.")
    after: tuple[str, ...] = Field((), description="After the promotion.")
    on_failure: tuple[str, ...] = Field((), description="After every ending but a good one.")
    on_done: tuple[str, ...] = ()
    on_reverted: tuple[str, ...] = ()
    on_held: tuple[str, ...] = ()
    on_stuck: tuple[str, ...] = ()


class Tls(Model):
    """TLS at the proxy, with certificates of the user."""

    certificates: tuple[str, ...] = Field(min_length=1, description="PEM files: chain and key in one.")
    listen: Listen = Field("*:443", description="Address of the TLS entry.")
    redirect: bool = Field(True, description="Send plain HTTP to HTTPS.")
    hsts: Seconds | None = Field(None, description="Strict-Transport-Security max-age; off unless set.")


class Force(Model):
    """Lets chosen requests choose their side; the values are `stable` and `candidate`."""

    header: HeaderName | None = None
    cookie: CookieName | None = None
    networks: tuple[Network, ...] = Field((), description="Clients that always get the candidate.")


class Timeouts(Model):
    """Limits of the proxy for one request."""

    connect: Seconds = Field(1.0, gt=0)
    response: Seconds = Field(60.0, gt=0)
    client: Seconds = Field(60.0, gt=0)
    tunnel: Seconds = Field(3600.0, gt=0, description="Idle time of a WebSocket.")


class HAProxy(Model):
    """An HAProxy that the team already runs; without this section we run our own."""

    config: str = Field(description="Folder of ours that its command line loads with -f.")
    socket: str = Field(description="Its master socket (-S).")
    binary: str = Field("haproxy", description="Program used to validate a config before it is loaded.")
    main: tuple[str, ...] = Field(
        ("/etc/haproxy/haproxy.cfg",), description="The team's own config files, validated together with ours."
    )


class Traffic(Model):
    """How users reach the service."""

    mode: Literal["http", "tcp"] = "http"
    listen: Listen = Field("*:80", description="Entry address; several HTTP services may share one.")
    domains: tuple[Domain, ...] = Field(
        (), description="Host names; none means every name that no other service claims."
    )
    path: Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9._~/-]*$")] = Field(
        "/", description="Path prefix of this service."
    )
    sticky: bool = Field(True, description="A client keeps its side for the length of a rollout.")
    protocol: Literal["http1", "h2"] = Field("http1", description="Spoken to instances; h2 for gRPC.")
    tls: Tls | None = None
    force: Force = Force()
    forwarded: bool = Field(True, description="Send X-Forwarded-For, -Proto, -Host, replacing what clients sent.")
    lease: Seconds = Field(
        30.0, ge=0, description="How long a canary's share outlives a deployer that died; 0 switches the lease off."
    )
    timeouts: Timeouts = Timeouts()
    haproxy: HAProxy | None = None

    @model_validator(mode="after")
    def _tcp_is_plain(self) -> Self:
        if self.mode == "tcp":
            extra = [k for k in ("domains", "tls") if getattr(self, k)] + (["path"] if self.path != "/" else [])
            if self.protocol == "h2":
                extra.append("protocol")
            if self.force.header or self.force.cookie:
                extra.append("force")
            if extra:
                raise ValueError(f"a tcp service cannot have {', '.join(extra)}; it is known by its listen address")
        return self


class ErrorLimits(Model):
    """What counts as worse in errors (HTTP 5xx and failed connections)."""

    margin: Ratio = Field(1.5, description="Candidate against stable.")
    add: Percent = Field(0.001, description="Absolute difference that is always tolerated.")
    max: Percent = Field(0.1, description="Absolute limit, which holds also where there is nothing to compare with.")


class Judge(Model):
    """When the candidate is worse, and when too little was seen to say."""

    errors: ErrorLimits = ErrorLimits()
    requests: int = Field(
        20, ge=0, description="Requests that the candidate must have answered in a step; fewer is `cannot judge`."
    )
    alpha: float = Field(
        0.01, gt=0, lt=0.5, description="Probability of taking back a release that is as good as the stable one."
    )
    undecided: Literal["hold", "revert", "proceed"] = Field("hold", description="What to do when it cannot be judged.")


class Keep(Model):
    """What stays after a rollout."""

    warm: Seconds = Field(3600.0, description="How long the former environment stays ready for a rollback.")
    releases: int = Field(5, ge=1, le=1000, description="Releases whose images are never pruned.")


Strategy = str | dict[Name, dict[str, Any]]


class Manifest(Model):
    """One service: what runs, how it is checked, how users reach it."""

    service: Name = Field(description="Name of the service.")
    image: str = Field(
        min_length=1,
        pattern=r"^[^\s\x00-\x1f]+$",
        description="Image (runtime docker) or directory (runtime process); `{version}` or a tag stands for the version.",
    )
    version: Text | None = Field(
        None, pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$", description="Version to deploy; `--version` replaces it."
    )
    port: Port = Field(
        description="Port on which an instance listens. With runtime process each instance gets its own in $PORT."
    )
    runtime: Literal["docker", "process"] = "docker"
    hosts: Literal["local"] = Field("local", description="Group of the inventory.")
    replicas: int = Field(1, ge=1, le=100)
    command: tuple[Text, ...] | None = Field(
        None, description="Replaces the command of the image; required for runtime process."
    )
    env: dict[EnvName, Text] = Field(default_factory=dict)
    secrets: dict[EnvName, Secret] = Field(
        default_factory=dict,
        description="Secrets by name; a plain list takes each from the environment variable of the same name.",
    )
    mounts: tuple[Mount, ...] = ()
    networks: tuple[str, ...] = Field((), description="Networks of the engine to join besides its default.")
    limits: Limits = Limits()
    user: str | None = Field(None, pattern=r"^[A-Za-z0-9_.-]+(:[A-Za-z0-9_.-]+)?$")
    read_only: bool = Field(False, description="Mount the root file system read-only.")
    log: Log = Log()
    stop: Stop = Stop()
    health: Health = Health()
    update: tuple[str, ...] = Field((), description="Playbooks rolled onto the twin before it sees a user.")
    smoke: tuple[Smoke, ...] = ()
    hooks: Hooks = Hooks()
    traffic: Traffic = Traffic()
    strategy: Strategy = Field("canary", description="Strategy of `deploy up`, with its options.")
    judge: Judge = Judge()
    keep: Keep = Keep()
    freeze: tuple[Freeze, ...] = Field(
        (), description="Times (of this machine) in which no rollout may start, e.g. `Fri 16:00-Mon 08:00`."
    )

    @model_validator(mode="before")
    @classmethod
    def _secret_names(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("secrets"), list):
            names = data["secrets"]
            data = {**data, "secrets": {n: {"env": n} if isinstance(n, str) else n for n in names}}
        return data

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.runtime == "process":
            if not self.command:
                raise ValueError("runtime process needs `command`, e.g. [./server]")
            docker_only = [k for k in ("mounts", "networks", "user", "read_only") if getattr(self, k)]
            if docker_only or self.health.docker:
                raise ValueError(f"runtime process does not support {', '.join(docker_only or ['health.docker'])}")
        if isinstance(self.strategy, dict) and len(self.strategy) != 1:
            raise ValueError("strategy names exactly one strategy")
        if self.smoke and self.traffic.mode == "tcp":
            raise ValueError("smoke tests are HTTP requests; a tcp service is checked by `health`")
        return self

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Self:
        """Read back what a release recorded with `record()`."""
        return cls.model_validate(record)

    def record(self) -> dict[str, Any]:
        """Give plain JSON data from which `from_record` makes the same manifest."""
        return self.model_dump(mode="json")

    @property
    def strategy_name(self) -> str:
        """Name of the strategy that `deploy up` uses."""
        return self.strategy if isinstance(self.strategy, str) else next(iter(self.strategy))

    def strategy_options(self, name: str) -> dict[str, Any]:
        """Options the manifest gives to the strategy `name`; empty when it configures another one."""
        return dict(self.strategy.get(name, {})) if isinstance(self.strategy, dict) else {}

    def image_for(self, version: str | None) -> str:
        """Give the image reference of a version: `{version}` filled in, or the tag replaced.

        Raises ValueError when the image has a digest and a version is asked for.
        """
        wanted = version or self.version
        if "{version}" in self.image:
            if not wanted:
                raise ValueError("the image has {version} in it: give `version:` or --version")
            return self.image.replace("{version}", wanted)
        if not wanted or self.runtime == "process":
            return self.image
        if "@" in self.image:
            raise ValueError("the image is pinned by digest; a version cannot replace it")
        name = PurePosixPath(self.image)
        return f"{self.image.removesuffix(name.name)}{re.sub(r':[^:]+$', '', name.name)}:{wanted}"
