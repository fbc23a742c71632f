"""Secrets in a bundle, encrypted by age(1) to the recipients who are named: age keys, or SSH keys."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from deployer.bundle.contents import canonical
from deployer.core import commands
from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import Refused
from deployer.core.secret import SecretText

SECONDS = 60.0
MOST = 16 * 1024 * 1024  # bytes of all secrets
_INSTALL = "`age` is needed: apt install age"


def seal(values: Mapping[str, SecretText], recipients: Sequence[str]) -> bytes:
    """Encrypt secrets to all of these recipients; each is a key, or the path of a file with keys. Raise Refused."""
    plain = canonical({name: value.reveal() for name, value in values.items()})
    named = [word for recipient in recipients for word in (_option(recipient), recipient)]
    try:
        return _age(*named, given=plain)
    except commands.CommandFailed as error:
        raise Refused(f"the secrets cannot be encrypted: {error}", error.hint and _INSTALL) from None


def unseal(data: bytes, identity: Path) -> dict[str, SecretText]:
    """Return the secrets that `seal` encrypted to the recipient of this identity. Raise Refused where it is another."""
    try:
        found = json.loads(_age("--decrypt", "--identity", str(identity.absolute()), given=data))
    except commands.CommandFailed as error:
        hint = error.hint and _INSTALL
        raise Refused(f"the secrets of the bundle cannot be opened with {identity}: {error}", hint) from None
    except ValueError:
        raise Refused("the secrets of the bundle cannot be read", "make it again") from None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise Refused("the secrets of the bundle cannot be read", "make it again")
    return {name: SecretText(value) for name, value in found.items()}


def _option(recipient: str) -> str:
    return "--recipient" if recipient.startswith(("age1", "ssh-")) else "--recipients-file"


def _age(*arguments: str, given: bytes) -> bytes:
    """Run age; what it reads goes through no file, and no argument holds it."""
    deadline = Deadline.after(SystemClock(), SECONDS)
    return commands.run(["age", *arguments], Path.cwd(), os.environ, deadline.left, most=2 * MOST, stdin=given)
