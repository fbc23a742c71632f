"""What both ends of a channel say to each other: one line of JSON each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from deployer.core.errors import (
    DeadlinePassed,
    DeployError,
    DriverFailed,
    LockHeld,
    LockLost,
    NoServerUp,
    Refused,
    StepFailed,
    TakenBack,
    Unreachable,
)
from deployer.drivers.ports import Drift
from deployer.manifest.models import HAProxy, Manifest
from deployer.model import Live, Load, MeasuredTraffic, Place, Release, Server
from deployer.planning.certificates import ServedCertificate

LONGEST = 16 << 20  # bytes of a line
SAMPLES, END = "samples", "end"  # calls that begin and end a stream of requests


@dataclass(frozen=True)
class ReleaseMessage:
    """What a proxy is told of a release."""

    service: str
    number: int
    manifest: dict[str, Any]
    learned: int = 0

    @classmethod
    def of(cls, release: Release) -> ReleaseMessage:
        """Take it from a release."""
        return cls(release.service, release.number, release.manifest.record(), release.learned)

    def release(self) -> Release:
        """Return a release that says no more than this."""
        manifest = Manifest.from_record(self.manifest)
        return Release(self.service, self.number, "", "", "", manifest, "", learned=self.learned)


@dataclass(frozen=True)
class Call:
    """A call of the driver, or of a part of it: its arguments but for the deadline, and what it returns."""

    part: str
    arguments: Mapping[str, TypeAdapter[Any]]
    result: TypeAdapter[Any]
    timed: bool = True


def _call(result: Any, part: str = "", /, *, timed: bool = True, **arguments: Any) -> Call:
    return Call(part, {name: TypeAdapter(kind) for name, kind in arguments.items()}, TypeAdapter(result), timed)


_names = tuple[str, ...]
CALLS: Mapping[str, Call] = {
    "check": _call(None, "inspection", manifest=dict[str, Any]),
    "configure": _call(None, release=ReleaseMessage, place=Place | None, key=str, chain_key=str),
    "install": _call(None, "certificates", given=tuple[ServedCertificate, ...]),
    "shown": _call(dict[str, dict[str, str]], "certificates", service=str, timed=False),
    "read": _call(Live | None, service=str, patience=float | None, timed=False),
    "set_traffic": _call(None, service=str, live=Live, given=Live | None),
    "introduce": _call(None, service=str, place=Place, servers=tuple[Server, ...]),
    "attach": _call(None, service=str, place=Place, servers=tuple[Server, ...]),
    "drain": _call(int, service=str, place=Place, names=_names),
    "hand_over": _call(int, service=str, place=Place, part=float),
    "load": _call(dict[Place, Load], "inspection", service=str, timed=False),
    "measured": _call(MeasuredTraffic | None, "inspection", service=str, timed=False),
    "detach": _call(None, service=str, place=Place, names=_names),
    "servers": _call(tuple[tuple[Server, bool], ...], service=str, place=Place, timed=False),
    "preview": _call(tuple[str, dict[str, str]], service=str, timed=False),
    "spent": _call(int, service=str, timed=False),
    "forget": _call(None, service=str),
    "close_entries": _call(int, "membership"),
    "open_entries": _call(None, "membership"),
    "services": _call(_names, "inspection", timed=False),
    "drift": _call(tuple[Drift, ...], "inspection", service=str, timed=False),
    "repair": _call(None, "upkeep", service=str, lost=dict[str, Live]),
    "spec": _call(str | None, "membership", service=str, timed=False),
    "join": _call(None, "membership", service=str, text=str, live=Live),
}
# Errors that are made of message and hint alone, the most particular first
PLAIN = (LockLost, TakenBack, Refused, LockHeld, DeadlinePassed, Unreachable, NoServerUp, DriverFailed, StepFailed)
PROXY = TypeAdapter(HAProxy)


def line(data: Mapping[str, Any]) -> bytes:
    """Write a line."""
    return json.dumps(data, separators=(",", ":")).encode() + b"\n"


def read(text: bytes) -> dict[str, Any]:
    """Read a line. Raises ValueError for one that is no object."""
    try:
        data = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(data, dict):
        raise ValueError(f"{text[:60]!r} is not an object")
    return data


def encoded(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Write the arguments of a call."""
    kinds = CALLS[name].arguments
    return {key: kinds[key].dump_python(value, mode="json") for key, value in arguments.items()}


def decoded(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Read the arguments of a call. Raises ValueError for what is none."""
    kinds = CALLS[name].arguments
    if kinds.keys() != arguments.keys():
        raise ValueError(f"{name} takes {', '.join(kinds)}")
    return {key: kind.validate_python(arguments[key]) for key, kind in kinds.items()}


def result(name: str, data: Any) -> Any:
    """Read what a call gave. Raises DriverFailed for what it cannot give."""
    try:
        return CALLS[name].result.validate_python(data)
    except ValidationError as error:
        raise DriverFailed(f"its response to `{name}` cannot be read: {error}", "use the same version there") from None


def trouble(error: DeployError) -> dict[str, Any]:
    """Write an error."""
    log = list(error.log) if isinstance(error, StepFailed) else []
    return {"kind": _kind(error), "message": error.message, "hint": error.hint, "log": log}


def raised(data: Mapping[str, Any], where: str) -> DeployError:
    """Read an error of the driver there; its message begins with where that is."""
    kind = next((each for each in PLAIN if each.__name__ == data.get("kind")), DriverFailed)
    error = kind(f"{where}: {data.get('message')}", str(data.get("hint", "")))
    if isinstance(error, StepFailed):
        error.log = tuple(map(str, data.get("log", ())))
    return error


def _kind(error: DeployError) -> str:
    """Name the nearest class that is made of message and hint alone."""
    return next((each.__name__ for each in PLAIN if isinstance(error, each)), "DriverFailed")
