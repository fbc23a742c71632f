"""What all programs sign: one line with the digest of the contents; and how they are run."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from deployer.bundle.contents import digest_of
from deployer.core import commands
from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import Refused

# What to do where a bundle is refused for its signature: a bundle is signed when it is made.
MADE_SIGNED = "`deploy bundle make --sign KEY -o FILE` makes and signs it"
BY_OTHER_KEY = f"add the key of who signed it, or sign it with a key that is there: {MADE_SIGNED}"
DAMAGED = f"copy it again, or make it again: {MADE_SIGNED}"
NAMESPACE = "deployer-bundle"
SECONDS = 60.0  # a key on a token may wait for a touch
_MOST = 64 * 1024


def digest_line(contents: bytes) -> bytes:
    """Return what is signed with a namespace beside it."""
    return f"{digest_of(contents)}\n".encode()


def named_line(contents: bytes) -> bytes:
    """Return what is signed by programs that know no namespace: nothing else that they sign looks like it."""
    return f"{NAMESPACE} ".encode() + digest_line(contents)


@contextmanager
def written(message: bytes, signature: str = "") -> Iterator[tuple[Path, Path]]:
    """Write a message and its signature for a program that reads files; return where they are."""
    with tempfile.TemporaryDirectory(prefix="dpsign") as folder:
        paths = Path(folder) / "message", Path(folder) / "message.sig"
        paths[0].write_bytes(message)
        if signature:
            paths[1].write_text(signature, encoding="utf-8")
        yield paths


def run(command: Sequence[str], stdin: bytes = b"", environ: Mapping[str, str] = os.environ) -> str:
    """Run a program; return what it printed. Raise CommandFailed."""
    deadline = Deadline.after(SystemClock(), SECONDS)
    printed = commands.run(command, Path.cwd(), environ, deadline.left, most=_MOST, stdin=stdin)
    return printed.decode(errors="replace")


@contextmanager
def refused(what: str, hint: str, install: str = "") -> Iterator[None]:
    """Raise Refused, saying `what`, where a program fails in the block; one that is not there has a hint of its own."""
    try:
        yield
    except commands.CommandFailed as error:
        missing = install or error.hint
        raise Refused(f"{what}: {error}", missing if error.hint else hint) from None
