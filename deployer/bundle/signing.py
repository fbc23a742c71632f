"""Signatures of bundles, by ssh-keygen: keys and file of signers are those of `git commit -S` with SSH."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from deployer.bundle.contents import digest_of
from deployer.core import commands
from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import Refused

NAMESPACE = "deployer-bundle"
SECONDS = 60.0  # a key on a token may wait for a touch
_MOST = 64 * 1024


def sign(contents: bytes, key: Path) -> str:
    """Sign the contents of a bundle, and with them all its parts; return the signature, armoured. Raise Refused."""
    with tempfile.TemporaryDirectory(prefix="dpsign") as folder:
        message = Path(folder) / "message"
        message.write_bytes(_message(contents))
        try:
            _keygen("-Y", "sign", "-q", "-n", NAMESPACE, "-f", str(key.absolute()), str(message))
            return message.with_name("message.sig").read_text(encoding="ascii")
        except commands.CommandFailed as error:
            raise Refused(f"the bundle cannot be signed with {key}: {error}", error.hint or "a key of ssh(1)") from None


def signer(contents: bytes, signature: str, signers: Path) -> str:
    """Return the one of `signers` (ssh-keygen(1), ALLOWED SIGNERS) who signed. Raise Refused where it was none."""
    if not signature:
        raise Refused(
            f"it is not signed, and {signers} says who must sign bundles",
            'sign it: `deploy bundle make --sign KEY`, or deploy it anyway: --allow-unsigned "WHY"',
        )
    if not signers.is_file():
        raise Refused(f"{signers} is not a file", "it holds the keys that may sign: ssh-keygen(1), ALLOWED SIGNERS")
    with tempfile.TemporaryDirectory(prefix="dpsign") as folder:
        written = Path(folder) / "message.sig"
        written.write_text(signature, encoding="utf-8")
        given = ("-s", str(written), "-f", str(signers.absolute()))
        try:
            found = _keygen("-Y", "find-principals", *given).splitlines()
            who = found[0] if found else ""
            _keygen("-Y", "verify", "-n", NAMESPACE, "-I", who, *given, stdin=_message(contents))
        except commands.CommandFailed as error:
            raise Refused(f"it is not signed by a key of {signers}: {error}", "sign it, or add the key") from None
    return who


def refuse_damaged(contents: bytes, signature: str) -> None:
    """Raise Refused for a signature that no key made of these contents, whosever it is."""
    with tempfile.TemporaryDirectory(prefix="dpsign") as folder:
        written = Path(folder) / "message.sig"
        written.write_text(signature, encoding="utf-8")
        try:
            _keygen("-Y", "check-novalidate", "-n", NAMESPACE, "-s", str(written), stdin=_message(contents))
        except commands.CommandFailed as error:
            raise Refused(f"its signature is damaged: {error}", "copy it again, or sign it again") from None


def _message(contents: bytes) -> bytes:
    return f"{digest_of(contents)}\n".encode()


def _keygen(*arguments: str, stdin: bytes = b"") -> str:
    deadline = Deadline.after(SystemClock(), SECONDS)
    command = ["ssh-keygen", *arguments]
    done = commands.run(command, Path.cwd(), os.environ, deadline.left, most=_MOST, stdin=stdin)
    return done.out.decode(errors="replace")
