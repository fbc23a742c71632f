"""The sections of the manifest: health, smoke tests, secrets, traffic and the rest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from deployer.manifest.base import Conflict, Count, Model, Number, Switch, Switchable, twice
from deployer.manifest.hook import RolloutHook
from deployer.manifest.metrics import Metric
from deployer.manifest.text import (
    CookieName,
    Domain,
    EnvName,
    FilePath,
    Group,
    HeaderName,
    HeaderValue,
    Host,
    Listen,
    Method,
    Name,
    Network,
    Prefix,
    Quantile,
    Signal,
    Source,
    Statuses,
    Target,
    Text,
    UrlPath,
)
from deployer.manifest.units import Bytes, Percent, Ratio, Seconds, Wait


class Health(Model):
    """When an instance counts as healthy; each instance is checked directly, before it gets traffic.

    Choose one of `http`, `tcp`, `command` and `docker`; with none of them an accepted connection is enough.
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
    rise: Count = Field(2, ge=1, le=100, description="Passed probes in a row that make an instance healthy.")
    interval: Wait = Field(
        0.5,
        gt=0,
        description="Time between two probes; 0.1 s at most until the first of `http` or `tcp` has passed, for 2 s.",
    )
    timeout: Wait = Field(2.0, gt=0, description="Time a probe may take.")
    deadline: Wait = Field(30.0, gt=0, description="Time from start to healthy; then the release has failed.")

    def conflicts(self) -> Iterator[Conflict]:
        """Give the keys that do not go together."""
        kinds = [k for k in ("http", "tcp", "command", "docker") if getattr(self, k)]
        if len(kinds) > 1:
            yield Conflict(
                kinds[1], f"there is `{kinds[0]}` already", f"choose one of {', '.join(kinds)}", tuple(kinds)
            )
        for key in ("body", "header", "host"):
            if getattr(self, key) and not self.http:
                yield Conflict(key, "says nothing without `http`", "add e.g. http: /up", ("http",))
        if (self.rise - 1) * self.interval >= self.deadline:
            asked = f"{self.rise} probes, {self.interval:g} s apart, do not fit in {self.deadline:g} s"
            yield Conflict("deadline", asked, "raise the deadline", ("rise", "interval", "deadline"))

    @property
    def kind(self) -> Literal["http", "tcp", "command", "docker"]:
        """The kind of probe; a plain connection when nothing was chosen."""
        for kind in ("http", "command", "docker"):
            if getattr(self, kind):
                return kind
        return "tcp"


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
        """Give the keys that do not go together."""
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
        """Give the keys that do not go together."""
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
        """Give the keys that do not go together."""
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


class Tls(Model):
    """TLS at the proxy, with your certificates."""

    certificates: tuple[FilePath, ...] = Field(
        min_length=1, description="PEM files, relative to the manifest: chain and key in one."
    )
    listen: Listen = Field("*:443", description="Address of the TLS entry.")
    redirect: Switch = Field(True, description="Send plain HTTP to HTTPS.")
    hsts: Seconds | None = Field(None, description="Strict-Transport-Security max-age; off unless set.")


class Force(Model):
    """Lets selected requests choose their side; the values are `stable` and `candidate`."""

    header: HeaderName | None = Field(None, description="Request header that may carry the side.")
    cookie: CookieName | None = Field(None, description="Cookie that may carry the side.")
    networks: tuple[Network, ...] = Field((), max_length=32, description="Clients that always get the candidate.")

    def conflicts(self) -> Iterator[Conflict]:
        """Give the keys that do not go together."""
        return twice(self.networks, "networks")


class Timeouts(Model):
    """Limits of the proxy for one request."""

    connect: Wait = Field(1.0, gt=0, description="Time to connect to an instance.")
    response: Wait = Field(60.0, gt=0, description="Time until an instance starts its response.")
    client: Wait = Field(60.0, gt=0, description="Longest pause of a client while it sends or reads.")
    tunnel: Wait = Field(3600.0, gt=0, description="Idle time of a WebSocket.")


class HAProxy(Model):
    """An HAProxy that you already run; without this section deployer runs its own."""

    config: FilePath = Field(description="Folder for deployer's files, which its command line loads with -f.")
    socket: FilePath = Field(description="Its master socket (-S).")
    binary: FilePath = Field("haproxy", description="Program used to validate a config before it is loaded.")
    main: tuple[FilePath, ...] = Field(
        ("/etc/haproxy/haproxy.cfg",), description="Your own config files; validated together with deployer's."
    )


class Shield(Model):
    """Lets stable answer requests that the candidate failed; the user sees no failure, and it still counts as an error.

    Only for requests that may be sent twice and that fit into a buffer of the proxy, never for an Upgrade (WebSocket).
    """

    methods: tuple[Method, ...] = Field(
        ("GET", "HEAD"), min_length=1, max_length=16, description="Methods of requests that may be sent twice."
    )
    timeout: Wait | None = Field(
        None,
        gt=0,
        description="Time after which stable answers instead; that counts as a failed response of the candidate; "
        "by default a third of `timeouts.response`, at most 30 s.",
    )


class Budget(Model):
    """Failed responses of a candidate that users may see; after that the proxy itself sends everyone to stable."""

    answers: Count = Field(
        50,
        ge=1,
        le=1_000_000,
        description="Failed responses users may see beyond what `judge.errors` allows.",
    )
    statuses: Statuses = Field(
        "500-599", description="Statuses that count as failed, from the release or from the proxy on its behalf."
    )

    @model_validator(mode="before")
    @classmethod
    def _bare_number(cls, data: Any) -> Any:
        return {"answers": data} if isinstance(data, int) and not isinstance(data, bool) else data


class HandoverSettings(Model):
    """Closes WebSockets and tcp sessions on a release that users have left; their clients reconnect.

    Requests in flight are not cut, however long they take.
    """

    former: Wait = Field(
        30.0,
        description="Time over which those on the former release are closed after a promotion, in small portions; "
        "the command ends when none is left.",
    )
    rolled_back: Wait = Field(
        0.0, description="The same for a release that is rolled back, or left by `deploy rollback`; 0 is at once."
    )


class TrafficSettings(Model):
    """How users reach the service."""

    mode: Literal["http", "tcp"] = Field("http", description="`tcp` passes connections on, whatever they carry.")
    listen: Listen = Field("*:80", description="Entry address; several HTTP services may share one.")
    domains: tuple[Domain, ...] = Field(
        (), description="Host names; none means every name that no other service claims."
    )
    path: Prefix = Field("/", description="Path prefix of this service.")
    sticky: Switch = Field(True, description="A client keeps its side for the length of a rollout.")
    affinity: Literal["none", "instance"] = Field(
        "none",
        description="`instance`: a client keeps its instance too, as long as that is running; for services that keep a "
        "client's state in one instance.",
    )
    protocol: Literal["http1", "h2"] = Field("http1", description="Spoken to instances; h2 for gRPC.")
    tls: Tls | None = Field(None, description="TLS at the proxy; plain HTTP without it.")
    force: Force = Field(Force(), description="Which requests may choose their side.")
    trusted_proxies: tuple[Network, ...] = Field(
        (),
        max_length=32,
        description="Proxies in front of this one: the last address in their X-Forwarded-For is the client's.",
    )
    forwarded: Switch = Field(True, description="Send X-Forwarded-For, -Proto, -Host, replacing what clients sent.")
    lease: Seconds = Field(
        30.0, ge=0, description="How long a canary keeps its share after its deployer died; 0 disables the lease."
    )
    paused: Wait = Field(
        86400.0,
        ge=1,
        description="How long a paused rollout keeps its share; then the proxy returns everyone to stable.",
    )
    shield: Annotated[Shield | None, Switchable()] = Field(
        Shield(), description="Stable answers requests that the candidate failed; `false` disables it."
    )
    budget: Annotated[Budget | None, Switchable()] = Field(
        Budget(), description="Failed responses that a candidate may give, e.g. `50`; `false`: no limit."
    )
    routes: tuple[Prefix, ...] = Field(
        (), max_length=8, description="Path prefixes whose errors are also judged on their own, e.g. /checkout."
    )
    timeouts: Timeouts = Field(Timeouts(), description="Limits for one request.")
    handover: Annotated[HandoverSettings | None, Switchable()] = Field(
        HandoverSettings(),
        description="WebSockets and tcp sessions follow their users; `false` leaves them open where they are.",
    )
    haproxy: HAProxy | None = Field(
        None, description="An HAProxy that you already run, instead of one that deployer runs."
    )
    proxies: Group = Field(
        "local",
        description="Inventory group (or Ansible pattern) of the hosts whose proxies users reach; all of them "
        "change together or not at all. `local` is this host. Without `haproxy`, each must be as "
        "`deploy hosts setup` prepares it.",
    )

    @model_validator(mode="before")
    @classmethod
    def _http_only(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("mode") == "tcp":
            return {"shield": False, "budget": False, **data}
        return data

    def conflicts(self) -> Iterator[Conflict]:
        """Give the keys that do not go together."""
        yield from twice(self.domains, "domains")
        yield from twice(self.trusted_proxies, "trusted_proxies")
        if self.tls and self.tls.listen == self.listen:
            yield Conflict("tls.listen", f"{self.listen} is the plain entry already", "e.g. *:443", ("listen", "tls"))
        if self.affinity == "instance" and not self.sticky:
            why = "a client that changes sides during a rollout does not keep its instance"
            yield Conflict("affinity", why, "leave `sticky` out", ("affinity", "sticky"))
        if self.mode == "tcp":
            yield from self._more_than_tcp()
        if self.proxies != "local" and self.tls:
            for index, name in enumerate(self.tls.certificates):
                if not name.startswith("/"):
                    at = f"tls.certificates[{index}]"
                    why = f"{name} is not absolute; the certificate is on the host of each proxy"
                    yield Conflict(at, why, "e.g. /etc/ssl/shop.pem", ("tls", "proxies"))

    def _more_than_tcp(self) -> Iterator[Conflict]:
        given = {
            "domains": bool(self.domains),
            "tls": self.tls is not None,
            "path": self.path != "/",
            "protocol": self.protocol == "h2",
            "force.header": self.force.header is not None,
            "force.cookie": self.force.cookie is not None,
            "shield": self.shield is not None,
            "budget": self.budget is not None,
            "routes": bool(self.routes),
            "trusted_proxies": bool(self.trusted_proxies),
        }
        for key in (k for k, there in given.items() if there):
            yield Conflict(key, "a tcp service cannot have it", "it is known by its listen address", (key, "mode"))


class ErrorLimits(Model):
    """What counts as worse in errors (HTTP 5xx and failed connections)."""

    margin: Ratio = Field(1.5, description="Candidate against stable.")
    add: Percent = Field(0.001, description="Absolute difference that is always tolerated.")
    max: Percent = Field(
        0.1, description="Absolute limit: worse with all users on it; while more fails on all sides, no share grows."
    )


class WarmupSettings(Model):
    """What is tolerated of a cold start: latency is not compared until one of these is over. Errors always are."""

    requests: Count = Field(200, ge=0, description="Responses of the candidate.")
    seconds: Seconds = Field(60.0, alias="for", description="Time since its first response.")

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)


class LatencyLimits(Model):
    """What counts as worse in latency; successful responses are timed up to their headers."""

    margin: Ratio = Field(1.25, description="Candidate against stable, at each quantile.")
    add: Wait = Field(0.005, description="Difference that is always tolerated.")
    quantiles: tuple[Quantile, ...] = Field(
        ("p50", "p99"),
        max_length=4,
        description="Quantiles that must be proven no worse before the share grows, e.g. p99.9.",
    )
    warmup: WarmupSettings = Field(WarmupSettings(), description="What is tolerated of a cold start.")

    def conflicts(self) -> Iterator[Conflict]:
        """Give the keys that do not go together."""
        return twice(self.quantiles, "quantiles")


class ResponseLimits(Model):
    """What counts as worse in responses that are no errors: by status (3xx, 4xx), empty, much smaller, cut short."""

    margin: Ratio = Field(2.0, description="Candidate's part of each kind against stable's.")
    add: Percent = Field(0.05, description="Absolute difference that is always tolerated.")


class Judge(Model):
    """When the candidate counts as worse, and how much evidence a verdict needs."""

    errors: ErrorLimits = Field(ErrorLimits(), description="Limits for errors.")
    latency: Annotated[LatencyLimits | None, Switchable()] = Field(
        LatencyLimits(), description="Limits for latency; `false` ignores it."
    )
    responses: Annotated[ResponseLimits | None, Switchable()] = Field(
        ResponseLimits(), description="Limits for the mix of responses; `false` ignores it."
    )
    requests: Count = Field(
        20,
        ge=0,
        description="Responses of the candidate that a step needs when its time is over; "
        "with fewer it is `inconclusive`.",
    )
    proof: Literal["optional", "required"] = Field(
        "optional",
        description="`optional`: a canary step without `for` also ends when its time (`within`) is over and no "
        "regression was found. `required`: it ends only when the candidate is proven no worse.",
    )
    beta: Number = Field(
        0.05, gt=0, lt=0.5, description="Probability that a release beyond a margin is called no worse."
    )
    alpha: Number = Field(
        0.01, gt=0, lt=0.5, description="Probability that a release as good as stable is rolled back."
    )
    metrics: tuple[Metric, ...] = Field(
        (),
        max_length=20,
        description="External metrics that are compared with limits while users are on the candidate.",
    )
    undecided: Literal["hold", "revert", "proceed"] = Field(
        "revert", description="What to do when a step is inconclusive: `hold` pauses, `revert` rolls back."
    )

    def conflicts(self) -> Iterator[Conflict]:
        """Give the keys that do not go together."""
        return twice((metric.name for metric in self.metrics), "metrics")


class Keep(Model):
    """What stays after a rollout."""

    warm: Seconds = Field(
        3600.0, description="How long the previous environment keeps running for an instant rollback."
    )
    releases: Count = Field(5, ge=1, le=1000, description="Releases whose images are never pruned.")
    events: Count = Field(
        500,
        ge=1,
        le=100_000,
        description="Finished rollouts whose events are kept; of older ones only the steps are kept.",
    )
