"""What both ends of a connection say before anything else: one line of JSON each, with what they are and want."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, TypeVar

from deployer import __version__
from deployer.core.errors import DeployError, Refused

PROTOCOL = 1  # grows when a side could not understand the other one any more
MARK = b"deployer "  # begins the line of the far end: a login shell may have printed some of its own before
LONGEST = 64 * 1024  # bytes of a line
SAME = "use the same version on both sides"
T = TypeVar("T", "Greeting", "Welcome")


def hello(data: Mapping[str, Any]) -> bytes:
    """Return the line of who connects."""
    return json.dumps({"protocol": PROTOCOL, "version": __version__, **data}).encode() + b"\n"


def welcome(data: Mapping[str, Any]) -> bytes:
    """Return the line of the far end."""
    return MARK + hello(data)


def refusal(error: DeployError) -> bytes:
    """Return the line of a far end that does not go on."""
    return welcome({"refused": error.message, "hint": error.hint})


def read(line: bytes, who: str) -> dict[str, Any]:
    """Read the line of the other end. Raise Refused where it does not go on, and for what cannot be understood."""
    try:
        data = json.loads(line.removeprefix(MARK))
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise Refused(f"{who} does not greet as a deployer does: {line[:60]!a}", SAME)
    if isinstance(data.get("refused"), str) and data["refused"]:
        raise Refused(data["refused"], str(data.get("hint", "")))
    if data.get("protocol") != PROTOCOL:
        theirs = f"deployer {data['version']}" if isinstance(data.get("version"), str) else "another version"
        raise Refused(f"{who} is {theirs}, which speaks protocol {data.get('protocol')!a}, not {PROTOCOL}", SAME)
    return data


def same_version(data: Mapping[str, Any], there: str = "there", here: str = "here") -> None:
    """Raise Refused unless the other end is of this version; whoever reads it may sit `there`."""
    if data.get("version") != __version__:
        raise Refused(f"deployer is {str(data.get('version'))[:20]} {there}, and {__version__} {here}", SAME)


@dataclass(frozen=True)
class Greeting:
    """Who asks a control host, as the client says, and where: folder, manifest and state there, "" for the usual."""

    by: str
    host: str
    folder: str = ""
    file: str = "deploy.yml"
    destination: str = ""
    state: str = ""

    def data(self) -> dict[str, str]:
        """Return it as it is sent."""
        return asdict(self)

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Greeting:
        """Read what was sent. Raise Refused."""
        return _texts(cls, data, "the client")


@dataclass(frozen=True)
class Welcome:
    """What a control host has: its folder, and the file that was named with its service or its set, "" for none.

    `trouble` says why the service of a manifest is not known.
    """

    folder: str
    manifest: str = ""
    service: str = ""
    trouble: str = ""
    set_name: str = ""

    def data(self) -> dict[str, str]:
        """Return it as it is sent."""
        return asdict(self)

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Welcome:
        """Read what was sent. Raise Refused."""
        return _texts(cls, data, "the control host")


def _texts(kind: type[T], data: Mapping[str, Any], who: str) -> T:
    """Make a class of the fields that it knows; what a later version says besides is left out."""
    known = {field.name: data[field.name] for field in fields(kind) if field.name in data}
    if wrong := [name for name, value in known.items() if not isinstance(value, str) or not value.isprintable()]:
        raise Refused(f"{who} gives no text as {', '.join(wrong)}", SAME)
    if missing := [field.name for field in fields(kind) if field.default is MISSING and field.name not in known]:
        raise Refused(f"{who} does not say {', '.join(missing)}", SAME)
    return kind(**known)
