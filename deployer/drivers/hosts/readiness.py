"""Whether hosts are fit: each is asked by one ssh, all at once, and one that does not respond is not waited for."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any, Literal

from deployer.core import commands
from deployer.core.clock import Clock, Deadline
from deployer.core.host import Host
from deployer.planning.heartbeat import patience
from deployer.planning.tenancy import DECLARE, undeclared
from deployer.transport import ssh
from deployer.transport.certificates import Certificates, greet, said
from deployer.transport.fanout import on_all
from deployer.transport.timeouts import QUICK

AT_ONCE = 256  # an inventory of more hosts waits for the first of them
_MOST = 1 << 16  # bytes of an answer
_PROBE = Path(__file__).with_name("probe.py")
_SKEW = 1.0  # seconds; a lease is 30 s by default, and the proxy ends it by its own clock
_ROOM = 2 << 30  # bytes; an image or two
_OLDEST = (2, 8)  # of HAProxy
_LEAST = 1.0  # seconds for an engine by TLS, also where ssh has used up what there was
_DAY = 86400.0
_SOON_DAYS = 30

Level = Literal["ok", "warn", "bad"]


@dataclass(frozen=True)
class Trait:
    """One thing about a host: `what` is reach, engine, guests, proxy, disk, clock or system."""

    level: Level
    what: str
    text: str
    remedy: str = ""


@dataclass(frozen=True)
class Examined:
    """A host and what was found; `seconds` is how long it took to answer."""

    host: Host
    traits: tuple[Trait, ...]
    seconds: float


@dataclass(frozen=True)
class HostRoles:
    """What hosts are for: `web` and `edge` are the names of those that must have an engine, and a proxy.

    Beside a proxy there must be a deployer of this version, if one is given. `isolations` are those of the guests that
    a host is lent to, by its name.
    """

    web: Collection[str]
    edge: Collection[str]
    version: str = ""
    isolations: Mapping[str, Collection[str]] = field(default_factory=dict)


def examine(hosts: Sequence[Host], roles: HostRoles, clock: Clock, seconds: float) -> tuple[Examined, ...]:
    """Ask all hosts, and return them in their order; each has so many seconds to answer."""

    def one(host: Host) -> Examined:
        began = clock.monotonic()
        deadline = Deadline.after(clock, seconds)
        traits = tuple(_traits(host, roles, deadline))
        return Examined(host, traits, clock.monotonic() - began)

    return tuple(on_all(dict(enumerate(hosts)), one, AT_ONCE).all().values())


def _traits(host: Host, roles: HostRoles, deadline: Deadline) -> Iterator[Trait]:
    before = deadline.clock.now()
    try:
        told = _ask(host, deadline)
    except commands.CommandFailed as failed:
        yield _unreached(host, failed)
        if host.engine and host.name in roles.web:
            yield from _direct(host, deadline)
        return
    after = deadline.clock.now()
    yield Trait("ok", "system", f"{told['system']}, Python {told['python']}")
    if told["reboot"]:
        yield Trait("warn", "system", "an update waits for a reboot", f"deploy hosts update --limit {host.name}")
    if host.name in roles.web and host.engine:
        yield from _direct(host, deadline)
    elif host.name in roles.web:
        yield _engine(told["engine"], host)
    yield from _guests(told["engine"], roles.isolations.get(host.name, ()))
    if host.name in roles.edge:
        yield _proxy(told["proxy"], host)
        if roles.version:
            yield _deployer(told["proxy"].get("deployer", ""), roles.version, host)
    yield _disk(told["disk"])
    yield _clock(float(told["now"]), before, after)


def _ask(host: Host, deadline: Deadline) -> Mapping[str, Any]:
    text = _PROBE.read_text(encoding="utf-8")
    line = [sys.executable, "-c", text] if host.connection == "local" else [*ssh.line(host, QUICK), _remote(text)]
    printed = commands.run(line, Path("/"), os.environ, deadline.left, most=_MOST)
    try:
        told = json.loads(printed)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise commands.CommandFailed("its response cannot be read", "does a login script of its user print something?")
    return told


def _remote(text: str) -> str:
    return f"exec python3 -c {shlex.quote(text)}"


def _direct(host: Host, deadline: Deadline) -> Iterator[Trait]:
    """Ask the engine as a deploy does, from here and by TLS: what the host says of itself does not show that."""
    certificates = Certificates(Path(host.engine_certs))
    try:
        greeted = greet(host.engine, certificates, max(deadline.left(), _LEAST))
    except (OSError, HTTPException, ValueError, KeyError) as error:
        trouble = said(error, host.engine, certificates)
        yield Trait("bad", "engine", trouble.text, trouble.remedy)
        return
    yield Trait("ok", "engine", f"Docker {greeted.version} by TLS")
    yield from ending({f"the certificate of {host.engine}": greeted.ends, **certificates.ends()}, deadline.clock)


def ending(ends: Mapping[str, datetime], clock: Clock) -> Iterator[Trait]:
    """Yield the certificates that end soon."""
    for what, end in ends.items():
        days = (end.timestamp() - clock.now()) / _DAY
        if days <= _SOON_DAYS:
            text = f"{what} ends on {end:%Y-%m-%d}" if days > 0 else f"{what} has ended on {end:%Y-%m-%d}"
            yield Trait("warn", "engine", text, "renew it before: then this host's engine refuses every client")


def _unreached(host: Host, failed: commands.CommandFailed) -> Trait:
    if failed.code == ssh.NOT_FOUND:
        return Trait("bad", "reach", "it has no python3", "install python3: Ansible needs it, too")
    why = ssh.unreached(failed, host)
    if why is None:
        return Trait("bad", "reach", failed.message, failed.hint or f"try `{ssh.by_hand(host)}`")
    setup = "; `deploy hosts setup --user root` makes the user" if why.text == ssh.DENIED else ""
    return Trait("bad", "reach", why.text, f"{why.remedy}{setup}")


def _engine(told: Mapping[str, str], host: Host) -> Trait:
    if "version" in told:
        return _version(told["version"], told.get("swarm", ""), float(told.get("heartbeat") or 0))
    setup = f"deploy hosts setup --limit {host.name}"
    match told["error"]:
        case "PermissionError":
            return Trait("bad", "engine", f"{host.user or 'its user'} may not use the Docker engine", setup)
        case "FileNotFoundError":
            return Trait("bad", "engine", "there is no Docker engine", setup)
        case "ConnectionRefusedError":
            return Trait("bad", "engine", "the Docker engine does not run", "there: systemctl status docker")
    return Trait("bad", "engine", f"the Docker engine is unreachable: {told['text']}", "there: systemctl status docker")


def _version(version: str, swarm: str, heartbeat: float) -> Trait:
    """Return what an engine is; of a manager of a Swarm also how long a lost node is waited for."""
    if swarm in ("", "manager", "worker"):
        text = f"Docker {version}{f', {swarm} of a Swarm' if swarm else ''}"
        if heartbeat:
            text += f": {patience(heartbeat)}"
        return Trait("ok", "engine", text)
    remedy = "there: `docker info` says why (`docker swarm unlock`, or leave and join again)"
    return Trait("warn", "engine", f"Docker {version}, whose node of a Swarm is {swarm}", remedy)


def _guests(told: Mapping[str, str], isolations: Collection[str]) -> Iterator[Trait]:
    """Look for the runtimes that isolate guests; an engine that does not answer is reported as such."""
    declared = told.get("runtimes", "").split()
    for isolation in sorted(isolations) if "version" in told else ():
        if missing := undeclared(isolation, declared):
            text = f"guests are to be isolated by {isolation}, and the engine has no runtime {missing}"
            yield Trait("bad", "guests", text, DECLARE)
        else:
            yield Trait("ok", "guests", f"guests by {isolation}")


def _proxy(told: Mapping[str, str], host: Host) -> Trait:
    setup = f"deploy hosts setup --limit {host.name}"
    if "version" not in told:
        return Trait("bad", "proxy", f"HAProxy: {told['text']}", setup)
    version = told["version"].split("-")[0]
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < _OLDEST:
        return Trait(
            "bad", "proxy", f"HAProxy {version} is too old", "install 2.8 or newer: backports, haproxy.debian.net"
        )
    if "master" in told and host.connection == "ssh":  # on this host, it is the deployer who runs it
        who = host.user or "its user"
        return Trait("bad", "proxy", f"HAProxy {version}, whose master socket does not let {who} in", setup)
    return Trait("ok", "proxy", f"HAProxy {version}")


def _deployer(there: str, version: str, host: Host) -> Trait:
    """Look at the deployer beside a proxy: a deploy asks it for what is to be done there."""
    if there == version or host.connection == "local":
        return Trait("ok", "proxy", f"deployer {version}")
    text = (
        f"deployer is {there} there, and {version} here"
        if there
        else "it has no `deploy` command, which serves the proxy"
    )
    setup = f"deploy hosts setup --limit {host.name} -e deployer_package=twin-deployer=={version}"
    return Trait("bad", "proxy", text, f"{setup}, or a wheel of it: docs/machines.md")


def _disk(told: Mapping[str, int]) -> Trait:
    free = told["free"]
    text = f"{free / (1 << 30):.1f} GiB free of {told['size'] / (1 << 30):.1f}"
    if free >= _ROOM:
        return Trait("ok", "disk", text)
    return Trait("warn", "disk", f"only {text}", "make room: docker system prune, journalctl --vacuum-size=200M")


def _clock(there: float, before: float, after: float) -> Trait:
    """Compare clocks: its own lies between what ours said before and after, give or take how far it goes wrong."""
    wrong = max(before - there, there - after, 0.0)
    if wrong <= _SKEW:
        return Trait("ok", "clock", "right")
    way = "behind" if there < before else "ahead of"
    remedy = "keep it right by a time service: apt-get install systemd-timesyncd"
    return Trait("bad", "clock", f"{wrong:.1f} s {way} this host's; at most {_SKEW:g} s is fine", remedy)
