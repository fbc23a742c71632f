"""The section `traffic`: how users reach a service."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from deployer.core.limits import PROXY_KEEP
from deployer.manifest.base import Conflict, Count, Model, Switch, Switchable, twice
from deployer.manifest.chain import ChainSettings
from deployer.manifest.text import (
    CookieName,
    Domain,
    FilePath,
    Group,
    HeaderName,
    Listen,
    Method,
    Network,
    Prefix,
    Statuses,
)
from deployer.manifest.tls import AutoTls, Tls
from deployer.manifest.units import Seconds, Wait

LOCAL = "local"  # in place of a group: this host


class Force(Model):
    """Lets selected requests choose their side; the values are `stable` and `candidate`."""

    header: HeaderName | None = Field(None, description="Request header that may carry the side.")
    cookie: CookieName | None = Field(None, description="Cookie that may carry the side.")
    networks: tuple[Network, ...] = Field((), max_length=32, description="Clients that always get the candidate.")

    def conflicts(self) -> Iterator[Conflict]:
        """Yield the keys that do not go together."""
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


class ProxyHosts(Model):
    """The hosts whose proxies users reach, and how many of them a rollout needs."""

    hosts: Group = Field(LOCAL, description="Inventory group, or an Ansible pattern; `local` is this host.")
    min: Count | None = Field(
        None,
        ge=1,
        description="Proxies that a rollout needs: it goes on without those beyond that which are lost. "
        "By default all of them.",
    )
    keep: Wait = Field(
        PROXY_KEEP,
        description="How long instances that a lost proxy may still send users to are kept for it.",
    )

    @model_validator(mode="before")
    @classmethod
    def _bare_group(cls, data: Any) -> Any:
        return {"hosts": data} if isinstance(data, str) else data

    @model_serializer(mode="wrap")
    def _short(self, write: SerializerFunctionWrapHandler) -> Any:
        """Write a group alone as its name: a release that says no more is the same as before there was more to say."""
        return self.hosts if self.min is None and self.keep == PROXY_KEEP else write(self)

    @property
    def local(self) -> bool:
        """Whether the proxy is that of this host."""
        return self.hosts == LOCAL

    def conflicts(self) -> Iterator[Conflict]:
        """Yield the keys that do not go together."""
        if self.local and self.min is not None:
            yield Conflict("min", "`hosts` is this host, which has one proxy", "name a group", ("hosts", "min"))


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
    tls: Tls | None = Field(
        None,
        description="TLS at the proxy; plain HTTP without it. `auto` obtains and renews certificates.",
    )
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
    retry: Literal["answers", "connections"] = Field(
        "answers",
        description="Which requests another instance gets: `answers`, also those whose instance died before its "
        "response (GET, HEAD, OPTIONS, PUT, DELETE, TRACE); `connections`, only those whose instance could not be "
        "reached, which costs the proxy less.",
    )
    handover: Annotated[HandoverSettings | None, Switchable()] = Field(
        HandoverSettings(),
        description="WebSockets and tcp sessions follow their users; `false` leaves them open where they are.",
    )
    chain: ChainSettings | None = Field(
        None,
        description="One side for a client in all services of a chain, e.g. `shop`: the proxy passes the side on in "
        "the headers X-Deployer-Side and baggage, and the application with its own requests.",
    )
    haproxy: HAProxy | None = Field(
        None, description="An HAProxy that you already run, instead of one that deployer runs."
    )
    proxies: ProxyHosts = Field(
        ProxyHosts(),
        description="The hosts whose proxies users reach; all of them change together or not at all, but for lost ones "
        "beyond `min`. A bare group is short for `hosts`. Without `haproxy`, each must be as "
        "`deploy hosts setup` prepares it.",
    )

    @property
    def counts_clients(self) -> bool:
        """Whether a client counts once for the judge: it keeps its side, or brings one from a caller."""
        return self.sticky or bool(self.chain and self.chain.callers)

    @model_validator(mode="before")
    @classmethod
    def _http_only(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("mode") == "tcp":
            return {"shield": False, "budget": False, **data}
        return data

    def conflicts(self) -> Iterator[Conflict]:
        """Yield the keys that do not go together."""
        yield from twice(self.domains, "domains")
        yield from twice(self.trusted_proxies, "trusted_proxies")
        if self.tls and self.tls.listen == self.listen:
            yield Conflict("tls.listen", f"{self.listen} is the plain entry already", "e.g. *:443", ("listen", "tls"))
        if self.tls and self.tls.auto:
            yield from self._unprovable(self.tls.auto)
        if self.affinity == "instance" and not self.sticky:
            why = "a client that changes sides during a rollout does not keep its instance"
            yield Conflict("affinity", why, "leave `sticky` out", ("affinity", "sticky"))
        if self.mode == "tcp":
            yield from self._more_than_tcp()
        if not self.proxies.local and self.tls:
            for index, name in enumerate(self.tls.certificates or ()):
                if not name.startswith("/"):
                    at = f"tls.certificates[{index}]"
                    why = f"{name} is not absolute; the certificate is on the host of each proxy"
                    yield Conflict(at, why, "e.g. /etc/ssl/shop.pem", ("tls", "proxies"))

    def _unprovable(self, auto: AutoTls) -> Iterator[Conflict]:
        """Yield what no authority could prove, or sign."""
        needs = ("tls", "domains")
        if not self.domains:
            why = "a certificate is for a name, and the service has none"
            yield Conflict("domains", why, "e.g. domains: [shop.example.com]", needs)
        for index, domain in enumerate(self.domains):
            if domain.startswith("*.") and not auto.dns:
                why = f"{domain} is a wildcard, which is proven by DNS only"
                yield Conflict(f"domains[{index}]", why, "add `tls.auto.dns`, or name the domains one by one", needs)

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
            "chain": self.chain is not None,
            "trusted_proxies": bool(self.trusted_proxies),
        }
        for key in (k for k, there in given.items() if there):
            yield Conflict(key, "a tcp service cannot have it", "it is known by its listen address", (key, "mode"))
