"""What both sides of `deploy --on` say to each other before the first request: one line of JSON each."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from deployer.core.errors import Refused

PROTOCOL = 1  # grows when a side could not understand the other one any more
MARK = "deployer "  # begins the line of the control host: a login shell may have printed some of its own before
LONGEST = 64 * 1024  # bytes of a line


@dataclass(frozen=True)
class Greeting:
    """Who asks, as the client says, and where: folder, manifest and state folder there, "" for the usual."""

    by: str
    machine: str
    folder: str = ""
    file: str = "deploy.yml"
    destination: str = ""
    state: str = ""

    def line(self) -> bytes:
        """Give it as it is sent."""
        return json.dumps({"protocol": PROTOCOL, **asdict(self)}).encode() + b"\n"

    @classmethod
    def read(cls, line: bytes) -> Self:
        """Read what was sent. Raises Refused."""
        data = _read(line, "the client")
        _understood(data, "the client")
        return cls(**_texts(cls, data, "the client"))


@dataclass(frozen=True)
class Welcome:
    """What the control host has: its version, and the manifest that was named with its service, "" for none.

    `trouble` says why the service of a manifest is not known; `refused` that nothing can be asked, with what to do.
    """

    version: str
    folder: str = ""
    manifest: str = ""
    service: str = ""
    trouble: str = ""
    refused: str = ""
    hint: str = ""

    def line(self) -> bytes:
        """Give it as it is sent."""
        return MARK.encode() + json.dumps({"protocol": PROTOCOL, **asdict(self)}).encode() + b"\n"

    @classmethod
    def read(cls, line: bytes) -> Self:
        """Read what was sent. Raises Refused."""
        data = _read(line.removeprefix(MARK.encode()), "the control host")
        if not isinstance(data.get("refused"), str) or not data["refused"]:
            _understood(data, "the control host")
        return cls(**_texts(cls, data, "the control host"))


def _read(line: bytes, who: str) -> dict[str, Any]:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise Refused(f"{who} does not greet as a deployer does: {line[:60]!a}", "use the same version on both sides")
    return data


def _understood(data: dict[str, Any], who: str) -> None:
    if data.get("protocol") != PROTOCOL:
        theirs = f"deployer {data['version']}" if isinstance(data.get("version"), str) else "another version"
        raise Refused(
            f"{who} is {theirs}, which speaks protocol {data.get('protocol')!a} of --on, not {PROTOCOL}",
            "use the same version on both sides",
        )


def _texts(kind: type[Any], data: dict[str, Any], who: str) -> dict[str, str]:
    """Give the fields of a class; what a later version says besides is left out."""
    known = {field.name: data[field.name] for field in fields(kind) if field.name in data}
    if wrong := [name for name, value in known.items() if not isinstance(value, str) or not value.isprintable()]:
        raise Refused(f"{who} gives no text as {', '.join(wrong)}", "use the same version on both sides")
    if missing := [name for name in ("by", "machine", "version") if name in kind.__annotations__ and name not in known]:
        raise Refused(f"{who} does not say {', '.join(missing)}", "use the same version on both sides")
    return known
