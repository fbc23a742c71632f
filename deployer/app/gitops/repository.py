"""A branch of a Git repository, as files: fetched into a copy of ours, each commit in a folder that never changes."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from deployer.core import commands, files
from deployer.core.clock import Clock, Deadline
from deployer.core.errors import DriverFailed, Refused
from deployer.transport import ssh

FETCH_SECONDS = 300.0
LOCAL_SECONDS = 60.0
_MOST = 1024 * 1024  # bytes that git may print
_URL = re.compile(r"(https?://|ssh://|file:///|/)[^\s\x00-\x1f]+|[A-Za-z0-9_.-]+@[A-Za-z0-9.-]+:[^\s\x00-\x1f]+")
_PASSWORD = re.compile(r"[a-z]+://[^/@]*:[^/@]*@")
_BRANCH = re.compile(r"(?!-)[A-Za-z0-9_./+@=-]{1,200}")
_COMMIT = re.compile("[0-9a-f]{40}([0-9a-f]{24})?")
_KEPT = 20  # folders of commits: releases that can be rolled back to may need their playbooks

# Nobody is there to be asked, what is fetched runs nothing, and a server that falls silent is not waited for.
_SETTINGS = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "protocol.allow": "never",
    "protocol.https.allow": "always",
    "protocol.http.allow": "always",
    "protocol.ssh.allow": "always",
    "protocol.file.allow": "always",
    "http.lowSpeedLimit": "100",
    "http.lowSpeedTime": "30",
    "gc.auto": "0",
}


@dataclass(frozen=True)
class Commit:
    """A commit: its whole name, and the first line of its message."""

    name: str
    subject: str

    @property
    def short(self) -> str:
        """Twelve digits of the name, as releases carry them."""
        return self.name[:12]


class Repository:
    """One branch, followed in a folder of its own below `folder`."""

    def __init__(self, url: str, branch: str, folder: Path, clock: Clock, environ: Mapping[str, str]) -> None:
        if not _URL.fullmatch(url):
            raise Refused(
                f"{url!a} is not the address of a repository",
                "https://HOST/PATH, ssh://USER@HOST/PATH, USER@HOST:PATH, or an absolute path",
            )
        if _PASSWORD.match(url):
            raise Refused(
                "the address of the repository has a password in it, which every user of this host could read",
                "a credential helper (gitcredentials(7)), ~/.netrc, or an SSH key",
            )
        if not _BRANCH.fullmatch(branch):
            raise Refused(f"{branch!a} is not the name of a branch", "such as main")
        self.url, self.branch = url, branch
        name = re.sub(r"\W+", "-", url.rpartition("/")[2].removesuffix(".git")).strip("-") or "repository"
        self.folder = folder / f"{name}-{hashlib.sha256(f'{url} {branch}'.encode()).hexdigest()[:8]}"
        self._clock = clock
        settings = {**_SETTINGS, "remote.origin.url": url}
        self._environ = {
            **environ,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_SSH_COMMAND": environ.get("GIT_SSH_COMMAND", ssh.GIT),
            "GIT_CONFIG_COUNT": str(len(settings)),
            **{f"GIT_CONFIG_KEY_{n}": key for n, key in enumerate(settings)},
            **{f"GIT_CONFIG_VALUE_{n}": value for n, value in enumerate(settings.values())},
        }
        self._mutex = threading.RLock()  # several manifests of one repository are followed at once

    def fetch(self) -> Commit:
        """Fetch the branch and give its newest commit. Raises DriverFailed when it cannot be had in time."""
        deadline = Deadline.after(self._clock, FETCH_SECONDS)
        with self._mutex:
            if not (self._mirror / "HEAD").exists():
                self._begin(deadline)
            ref = f"refs/heads/{self.branch}"
            self._git(deadline, "fetch", "--quiet", "--no-tags", "--force", "origin", f"+{ref}:{ref}")
            return self._commit(ref, deadline)

    def last(self) -> Commit | None:
        """Return the commit that was fetched last; None when there is none yet."""
        with self._mutex:
            try:
                return self._commit(f"refs/heads/{self.branch}", Deadline.after(self._clock, LOCAL_SECONDS))
            except DriverFailed:
                return None

    def files(self, commit: Commit) -> Path:
        """Return a folder with the files of a commit, made whole or not at all.

        Raises DriverFailed, and Refused for one with a link that leads out of it: a review does not show what it reads.
        """
        deadline, place = Deadline.after(self._clock, LOCAL_SECONDS), self.folder / "commits" / commit.name
        with self._mutex:
            if not place.exists():
                files.folder(place.parent)
                with files.half_made(place.parent) as half:
                    self._git(deadline, "clone", "--quiet", "--shared", "--no-checkout", str(self._mirror), str(half))
                    self._git(deadline, "checkout", "--quiet", "--detach", commit.name, within=half)
                    _refuse_ways_out(half, commit)
                    half.rename(place)
                files.sync(place.parent)
            os.utime(place)
        return place

    def prune(self, needed: Collection[Path]) -> None:
        """Remove folders of commits that were not used lately, and of which none is among or above those `needed`."""
        with self._mutex:
            here = sorted((self.folder / "commits").glob("*"), key=lambda p: p.stat().st_mtime, reverse=True)
            for old in here[_KEPT:]:
                if not any(path == old or old in path.parents for path in needed):
                    shutil.rmtree(old)

    def verify(self, commit: Commit, keys: Path, since: str = "", *, allow_rewind: bool = False) -> None:
        """Raise Refused unless one of the keys signed the commit, and it belongs here and now.

        Who signed it said nothing about where it is pushed: it must descend from `since`, a commit of this repository,
        and, unless `allow_rewind`, from the one that was verified last, so that none of old comes back.

        `keys` holds SSH keys as `allowed_signers` (ssh-keygen(1), ALLOWED SIGNERS) or armoured OpenPGP public keys.
        """
        if since and not _COMMIT.fullmatch(since):
            raise Refused(f"{since!a} is not the name of a commit", "all 40 digits, as `git rev-parse` prints them")
        self._is_signed(commit, keys)
        with self._mutex:
            if since and not self._descends(commit, since):
                raise Refused(
                    f"commit {commit.short} ({commit.subject}) does not descend from {since[:12]}, as --since demands: "
                    "it is of another repository, or older",
                    "push the right branch, or name another commit of this repository",
                )
            before = self._last_verified()
            if before and not allow_rewind and not self._descends(commit, before):
                raise Refused(
                    f"commit {commit.short} ({commit.subject}) does not descend from {before[:12]}, which was verified "
                    "before: an older commit, a rewritten branch, or another repository",
                    "push a signed commit on top of that one (git revert), or allow this once: --allow-rewind",
                )
            files.replace(self._verified, f"{commit.name}\n")

    def _last_verified(self) -> str:
        """Return the commit that was verified last; "" for none. Raises Refused when that cannot be read."""
        try:
            said = self._verified.read_text(encoding="ascii", errors="replace").strip()
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise Refused(
                f"{self._verified} cannot be read: {error.strerror}", "it says what was verified last"
            ) from None
        if not _COMMIT.fullmatch(said):
            raise Refused(f"{self._verified} names no commit", "write the name of the commit that was deployed last")
        return said

    def _descends(self, commit: Commit, ancestor: str) -> bool:
        """Return whether a commit is another one, or comes after it; one that is not known here has no descendants."""
        deadline = Deadline.after(self._clock, LOCAL_SECONDS)
        try:
            self._git(deadline, "merge-base", "--is-ancestor", ancestor, commit.name)
        except DriverFailed:
            return False
        return True

    def _is_signed(self, commit: Commit, keys: Path) -> None:
        try:
            openpgp = b"-----BEGIN PGP PUBLIC KEY BLOCK-----" in keys.read_bytes()
        except OSError as error:
            raise Refused(f"{keys} cannot be read: {error.strerror}", "it holds the keys that may sign") from None
        deadline = Deadline.after(self._clock, LOCAL_SECONDS)
        with tempfile.TemporaryDirectory(prefix="dpgit") as home:
            given = {"GNUPGHOME": home}
            try:
                if openpgp:
                    self._run(
                        ["gpg", "--batch", "--quiet", "--import", str(keys.absolute())], Path(home), deadline, given
                    )
                self._git(
                    deadline,
                    "-c",
                    f"gpg.ssh.allowedSignersFile={keys.absolute()}",
                    "-c",
                    "gpg.minTrustLevel=undefined",
                    "verify-commit",
                    commit.name,
                    given=given,
                )
            except DriverFailed as error:
                raise Refused(
                    f"commit {commit.short} ({commit.subject}) is not signed by a key of {keys}: {error.message}",
                    "sign it (git commit -S), or add the key",
                ) from None
            finally:
                if openpgp:  # an agent that gpg may have started for this folder; else it ends once that is gone
                    patience = Deadline.after(self._clock, LOCAL_SECONDS)
                    with suppress(DriverFailed):
                        self._run(["gpgconf", "--kill", "all"], Path(home), patience, given)

    @property
    def _verified(self) -> Path:
        return self.folder / "verified"

    @property
    def _mirror(self) -> Path:
        return self.folder / "mirror.git"

    def _begin(self, deadline: Deadline) -> None:
        shutil.rmtree(self._mirror, ignore_errors=True)
        files.folder(self.folder)
        with files.half_made(self.folder) as half:
            self._git(deadline, "init", "--quiet", "--bare", str(half), within=self.folder)
            half.rename(self._mirror)

    def _commit(self, ref: str, deadline: Deadline) -> Commit:
        said = self._git(deadline, "log", "-1", "--no-show-signature", "--format=%H%n%s", ref)
        name, _, subject = said.partition("\n")
        return Commit(name, subject.strip())

    def _git(
        self, deadline: Deadline, *arguments: str, within: Path | None = None, given: Mapping[str, str] | None = None
    ) -> str:
        return self._run(["git", *arguments], within or self._mirror, deadline, given or {})

    def _run(self, command: list[str], folder: Path, deadline: Deadline, given: Mapping[str, str]) -> str:
        try:
            printed = commands.run(command, folder, {**self._environ, **given}, deadline.left, most=_MOST)
        except commands.CommandFailed as error:
            raise DriverFailed(f"{self.url}: {error.message}", error.hint) from None
        return printed.decode(errors="replace")


def _refuse_ways_out(folder: Path, commit: Commit) -> None:
    inside = folder.resolve()
    for place, folders, names in os.walk(folder):
        if Path(place) == folder:
            folders.remove(".git")
        for link in (Path(place) / name for name in (*folders, *names)):
            if not link.is_symlink():
                continue
            to = link.resolve()
            if not to.is_relative_to(inside) or to.is_relative_to(inside / ".git"):
                raise Refused(
                    f"commit {commit.short} ({commit.subject}): {link.relative_to(folder)} is a link that leads out of "
                    f"the commit, to {str(link.readlink())!a}",
                    "commit the file itself, or a link to a file of the repository",
                )
