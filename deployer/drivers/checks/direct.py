"""Asks instances and the candidate how they are, from this host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from deployer.core.clock import Clock, Deadline
from deployer.core.errors import DeadlinePassed, DriverFailed
from deployer.drivers.checks.expect import beginning, mismatch
from deployer.drivers.checks.statuses import Statuses
from deployer.drivers.ports import Runtime
from deployer.model import Instance
from deployer.transport.http import get
from deployer.transport.sockets import NoAnswer, connect

if TYPE_CHECKING:
    from deployer.manifest.models import Health, Manifest, SmokeTest


class DirectChecks:
    """Probes instances at their own address, and the candidate through the preview route.

    A probe that fails is an answer, not an error: what was seen comes back as a sentence. An expression for statuses
    that makes no sense raises ValueError; the manifest should have been refused for it.
    """

    def __init__(self, runtime: Runtime, clock: Clock) -> None:
        self._runtime = runtime
        self._clock = clock

    def probe(self, manifest: Manifest, instance: Instance, deadline: Deadline) -> str:
        """Probe once; return "" for a pass, else what was seen. Takes at most `health.timeout`.

        For the HEALTHCHECK of an image the instance is believed as it was given: look afresh before each call.
        """
        health = manifest.health
        seconds = min(health.timeout, deadline.left())
        if not seconds:
            return "not asked: no time was left"
        match health.kind:
            case "http" | "tcp":
                return probe(health, instance.address, seconds)
            case "command":
                return self._command(health.command or (), instance, seconds)
            case "docker":
                return _healthcheck(instance)
            case "running":
                return _runs(instance)

    def smoke(self, manifest: Manifest, base: str, headers: dict[str, str], deadline: Deadline) -> str:
        """Run the smoke tests in order up to the first that fails; return "" for a pass, else which failed and how."""
        for number, test in enumerate(manifest.smoke, 1):
            left = deadline.left()
            seen = _smoke(test, base, headers, min(test.timeout, left)) if left else "not run: no time was left"
            if seen:
                return f"smoke test {number} of {len(manifest.smoke)}, GET {test.get}: {seen}"
        return ""

    def _command(self, command: tuple[str, ...], instance: Instance, seconds: float) -> str:
        what = f"command {' '.join(command)!r} in {instance.name}"
        try:
            code, output = self._runtime.run(instance, command, Deadline.after(self._clock, seconds))
        except DeadlinePassed:
            return f"{what}: no end within {seconds:g} s"
        except DriverFailed as error:  # e.g. the instance has exited: the next look may find it running
            return f"{what}: {error.message}"
        said = f": {beginning(output)}" if output.strip() else ""
        return f"{what}: exit code {code}, expected 0{said}" if code else ""


def probe(health: Health, address: str, seconds: float) -> str:
    """Ask an address once by http or tcp, as `health` says; return "" for a pass, else what was seen."""
    return _http(health, address, seconds) if health.kind == "http" else _tcp(address, seconds)


def _http(health: Health, address: str, seconds: float) -> str:
    base, path = f"http://{address}", health.http or "/"
    try:
        answer = get(base, path, {"Host": health.host} if health.host else {}, seconds)
    except NoAnswer as error:
        return f"GET {base}{path}: {error}"
    seen = mismatch(answer, Statuses.parse(health.status), health.body, health.header)
    return f"GET {base}{path}: {seen}" if seen else ""


def _tcp(address: str, seconds: float) -> str:
    try:
        connect(address, seconds)
    except NoAnswer as error:
        return f"tcp {address}: {error}"
    return ""


def _runs(instance: Instance) -> str:
    if instance.state == "running":
        return ""
    code = "" if instance.exit_code is None else f" (exit code {instance.exit_code})"
    return f"{instance.name} is {instance.state}{code}, expected running"


def _healthcheck(instance: Instance) -> str:
    if down := _runs(instance):
        return down
    match instance.health:
        case "healthy":
            return ""
        case "none":
            return f"{instance.name} has no HEALTHCHECK; add one to the image or use health.http, tcp or command"
        case health:
            return f"HEALTHCHECK of {instance.name} says {health}, expected healthy"


def _smoke(test: SmokeTest, base: str, headers: Mapping[str, str], seconds: float) -> str:
    try:
        answer = get(base, test.get, _merged(test.header, headers), seconds)
    except NoAnswer as error:
        return str(error)
    seen = mismatch(answer, Statuses.parse(test.expect), test.body, {})
    return f"{seen}; the answer ({answer.status}) begins: {beginning(answer.body) or '(empty)'}" if seen else ""


def _merged(wanted: Mapping[str, str], route: Mapping[str, str]) -> dict[str, str]:
    """Join the headers of a test with those of the route to the candidate.

    The route wins, or the test could be answered by the stable release and pass; but a service has several names, so
    the Host of a test stands.
    """
    routed = {name.lower() for name in route if name.lower() != "host"}
    kept = {name: value for name, value in wanted.items() if name.lower() not in routed}
    named = any(name.lower() == "host" for name in kept)
    return {**kept, **{name: value for name, value in route.items() if not (named and name.lower() == "host")}}
