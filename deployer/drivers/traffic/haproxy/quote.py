"""Writing values into a HAProxy configuration."""

from __future__ import annotations

import re

from deployer.core.errors import Refused
from deployer.core.files import PLAIN_PATH

_WORD = re.compile(r"(?!-)[A-Za-z0-9_.:/@*\[\]=,+~-]+")  # what begins with - would be read as an option
_SPECIAL = re.compile(r'([\\"$])')


def word(text: str) -> str:
    """Return a value that stands for itself. Raises Refused for one that would need quoting."""
    if not _WORD.fullmatch(text):
        raise Refused(f"{text!r} cannot be written into the proxy's configuration", "use letters, digits and ._-/")
    return text


def plain_path(text: str) -> str:
    """Return a path that stands for itself, also where brackets and commas mean something: in a list of certificates.

    Raises Refused for any other.
    """
    if not PLAIN_PATH.fullmatch(text):
        raise Refused(f"{text!r} cannot be named in the proxy's configuration", "use letters, digits and ._@+=:~-/")
    return text


def quoted(text: str) -> str:
    """Return any printable text as one argument. Raises Refused for control characters: no line of ours ever breaks."""
    if not text.isascii() or not text.isprintable():
        raise Refused(f"{text!r} cannot be written into the proxy's configuration", "use printable ASCII")
    return '"' + _SPECIAL.sub(r"\\\1", text) + '"'


def milliseconds(seconds: float) -> str:
    """Write a duration; the shortest one is 1 ms, since 0 means `never` to HAProxy, which counts to 2^31."""
    return f"{min(max(1, round(seconds * 1000)), 2**31 - 1)}ms"
