"""Domains, path and port of a service from what a proxy reads: Traefik, caddy-docker-proxy, nginx-proxy."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from deployer.manifest import variables
from deployer.manifest.compose import jobs
from deployer.manifest.compose.draft import Draft

Path = tuple[str | int, ...]
_RULE = re.compile(r"(Host|PathPrefix|Path)\(([^()]*)\)")
_QUOTED = re.compile(r"[`'\"]([^`'\"]*)[`'\"]")
_ADDRESS = re.compile(r"(?:https?://)?([^/:\s,]+)(?::[0-9]+)?(/[^\s,]*)?")
_UPSTREAM = re.compile(r"\{\{\s*upstreams(?:\s+https?)?\s+([0-9]+)\s*\}\}")
_TLS = "TLS: `traffic.tls: auto` obtains certificates; or name yours there, or keep a proxy that has them in front"
# What a label of Traefik says besides, as a part of its name
_REASONS = (
    (re.compile(r"\.tls(\.|$)|\.entrypoints$"), _TLS),
    (re.compile(r"\.middlewares?"), "deployer's proxy has no middlewares: what they do belongs in the service"),
)


@dataclass
class Route:
    """How users reach a service."""

    domains: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    port: int = 0

    def add(self, domain: str) -> None:
        """Add a domain, once."""
        if domain and domain not in self.domains:
            self.domains.append(domain)


def route(draft: Draft) -> Route:
    """Return what labels and variables of the service say; what they say besides is noted."""
    found = Route()
    for section in (("labels",), ("deploy", "labels")):
        for name, (value, path) in draft.pairs(*section).items():
            name, text = _filled(draft, name), _filled(draft, value or "")
            if name == "traefik" or name.startswith("traefik."):
                _traefik(draft, found, name, text, path)
            elif name == "caddy" or re.match(r"caddy[._]", name):
                _caddy(draft, found, name, text, path)
            elif not jobs.is_read(name):
                draft.note("labels of containers are deployer's own", *path)
    for name, (value, path) in draft.pairs("environment").items():
        text = _filled(draft, value or "")
        if name == "VIRTUAL_HOST":
            for domain in text.split(","):
                found.add(domain.strip())
        elif name == "VIRTUAL_PORT" and text.isdecimal():
            found.port = int(text)
        elif name == "LETSENCRYPT_HOST":
            draft.note(_TLS, *path)
    return found


def _filled(draft: Draft, text: str) -> str:
    return variables.filled(text, draft.project.known.get)


def _traefik(draft: Draft, found: Route, name: str, text: str, path: Path) -> None:
    if name.endswith(".rule"):
        _rule(draft, found, text, path)
    elif name.endswith(".loadbalancer.server.port") and text.isdecimal():
        found.port = int(text)
    elif name not in ("traefik.enable", "traefik.docker.network", "traefik.constraint-label", "traefik.swarm.network"):
        why = next((reason for pattern, reason in _REASONS if pattern.search(name)), "only Traefik reads it")
        draft.note(why, *path)


def _rule(draft: Draft, found: Route, rule: str, path: Path) -> None:
    """Take hosts and path prefixes joined by || and &&; noted where a rule says more."""
    for kind, inside in _RULE.findall(rule):
        for value in _QUOTED.findall(inside):
            if kind == "Host":
                found.add(value)
            elif value not in found.paths:
                found.paths.append(value)
    if re.sub(r"[\s&|()]", "", _RULE.sub("", rule)) or "Path(" in rule.replace("PathPrefix(", ""):
        draft.note("of this rule, hosts and path prefixes were taken over", *path)


def _caddy(draft: Draft, found: Route, name: str, text: str, path: Path) -> None:
    if re.fullmatch(r"caddy(_[0-9]+)?", name):
        for domain, prefix in _ADDRESS.findall(text):
            found.add(domain)
            if prefix.rstrip("/*"):
                found.paths.append(prefix.rstrip("/*"))
    elif name.endswith("reverse_proxy") and (upstream := _UPSTREAM.search(text)):
        found.port = int(upstream[1])
    elif name.endswith("reverse_proxy") and "upstreams" in text:
        pass  # the port that the service exposes
    else:
        draft.note(_TLS if ".tls" in name else "only Caddy reads it", *path)
