"""`deploy` with any words, on an empty state folder: an exit code of the contract, no trace, and nothing changed."""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import shutil
import tempfile
from pathlib import Path

from deployer import cli
from deployer.core.errors import Exit

LONGEST = 300
# What writes files, asks the machine, or needs a strategy is no part of this; arguments are what is tried.
COMMANDS: tuple[str, ...]
COMMANDS = ("status", "history", "releases", "show", "report", "record", "judge", "logs", "promote", "abort")
COMMANDS += ("rollback", "pause", "resume", "release-lock", "watch", "plan", "up", "down", "--version", "")
KNOWN: tuple[str, ...]
KNOWN = ("--service", "-f", "-d", "--to", "-m", "--output", "json", "plain", "--limit", "--lines", "-n", "--rollout")
KNOWN += ("--for", "--format", "--version", "--set", "judge.errors.margin=2x", "--check", "-y", "/dev/null", "--all")

_folder = Path(tempfile.mkdtemp(prefix="dp", dir="/tmp"))
atexit.register(shutil.rmtree, _folder, ignore_errors=True)


def check(data: bytes) -> None:
    """The first byte is the command; a byte below 64 is a known word, and one above begins a word of its own."""
    if not data:
        return
    words = [COMMANDS[data[0] % len(COMMANDS)], *_words(data[1:])]
    words = [word for word in words if not word.startswith(("-o", "--o"))] + ["--state", str(_folder / "state")]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(_folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(words)
    assert code in set(Exit) - {Exit.INTERNAL}, f"{words}: {code}\n{err.getvalue()}"
    assert "Traceback" not in err.getvalue()
    out.getvalue().encode()
    assert {path.name for path in _folder.iterdir()} <= {"state"}, f"{words} wrote {list(_folder.iterdir())}"


def _words(data: bytes) -> list[str]:
    words = []
    for piece in data.split(b"\x00"):
        if len(piece) == 1 and piece[0] < 64:
            words.append(KNOWN[piece[0] % len(KNOWN)])
        else:
            words.append(os.fsdecode(piece))  # as the kernel hands it over
    return words
