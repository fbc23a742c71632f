"""What Git says of the work tree around a folder: its revision, its last commit, what is not committed."""

from __future__ import annotations

import subprocess
from collections.abc import Set
from pathlib import Path

from deployer.core.errors import Refused

GIT_SECONDS = 5


class NoWorkTree(Refused):
    """The folder is in no work tree, or Git does not say."""


def git_revision(folder: Path) -> str:
    """Return the revision of the work tree around a folder, with `+` when it has changes; nothing outside of Git."""
    try:
        head = head_of(folder)
        return head + ("+" if head and _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
    except NoWorkTree:
        return ""


def head_of(folder: Path) -> str:
    """Return the first digits of the newest commit. Raise NoWorkTree."""
    return _git(folder, "rev-parse", "--short=12", "HEAD")


def last_commit(folder: Path) -> tuple[str, int, str]:
    """Return who made the newest commit, when (Unix seconds), and its subject; nothing outside of Git."""
    try:
        who, when, why = _git(folder, "log", "-1", "--no-show-signature", "--format=%an <%ae>%n%ct%n%s").split("\n", 2)
        return who, int(when), why
    except (NoWorkTree, ValueError):
        return "", 0, ""


def uncommitted(folder: Path, below: str, besides: Set[Path]) -> list[str]:
    """Name the files `below` a path of the work tree that are not committed, `besides` some. Raise NoWorkTree."""
    root = Path(_git(folder, "rev-parse", "--show-toplevel"))
    printed = _git(folder, "status", "--porcelain", "--no-renames", "--untracked-files=all", "-z", "--", below)
    names = [entry[3:] for entry in printed.split("\0") if entry]
    return [name for name in names if (root / name).resolve() not in besides]


def _git(folder: Path, *arguments: str) -> str:
    # What lies in the folder may be somebody else's: a repository among its files, whose settings name programs.
    safe = ("-c", "safe.bareRepository=explicit", "-c", "core.fsmonitor=false")
    command = ["git", *safe, "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise NoWorkTree(f"{folder} is in no Git work tree", "make a commit") from error
    return done.stdout.strip("\n")
