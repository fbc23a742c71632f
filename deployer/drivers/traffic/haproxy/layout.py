"""The folder that holds everything the proxy is told: atomic writes, the lock, names of files.

CONFIG               haproxy.cfg of our own proxy, deployer.cfg for a team's proxy (one level up)
services/NAME.json   what the proxy knows about a service
maps/state.map       the live value of each service
maps/…               other maps and certificate lists that the config names
maps/keys.map        the key that signs the cookies of each service, 0600
certificates/        key and chain of each domain with `tls: auto`, 0600, and the account that proves it
preview.token        the secret of the preview route, 0600
counted.json         how many requests were counted before the last reload, for forecasts
s-…                  sockets by which the proxy reaches itself, for the shield
waker/                the process that wakes services which sleep, and what became of their starts
lock                 held while files and running proxy are changed together
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from deployer.core import files
from deployer.core.clock import Deadline
from deployer.core.errors import DriverFailed, LockHeld, Refused
from deployer.core.filelock import FileLock
from deployer.core.lock_holders import holders
from deployer.drivers.traffic.haproxy.internal_sockets import Inside


class Home:
    """The files of one proxy."""

    def __init__(
        self,
        root: Path,
        config: Path,
        mode: int = 0o700,
        inside: Inside | None = None,
        certificates: Path | None = None,
        *,
        lasting: bool = True,
    ) -> None:
        if not all(files.PLAIN_PATH.fullmatch(str(path)) for path in (root, config)):
            raise Refused(
                f"{root}: a folder of the proxy may have only letters, digits and ._@+=:~- in its path",
                "choose another state folder",
            )
        self.root = root
        self.config = config
        self.inside = inside or Inside(root)
        # Key and chain of each domain whose certificate is got by itself; nobody else may read it
        self.certificates = certificates or root / "certificates"
        self._mode = mode
        self._lasting = lasting  # whether a power cut may take nothing that was written

    @property
    def services(self) -> Path:
        """Folder of the specs."""
        return self.root / "services"

    @property
    def maps(self) -> Path:
        """Folder of the maps."""
        return self.root / "maps"

    @property
    def state(self) -> Path:
        """The map that moves the traffic."""
        return self.maps / "state.map"

    @property
    def keys(self) -> Path:
        """The map with the key of each service; nobody else may read it."""
        return self.maps / "keys.map"

    @property
    def options(self) -> Path:
        """The map from service to its options at the entry."""
        return self.maps / "options.map"

    @property
    def accounts(self) -> Path:
        """The map from domain to the thumbprint of the account that proves it (ACME HTTP-01)."""
        return self.maps / "accounts.map"

    @property
    def token(self) -> Path:
        """The secret of the preview route."""
        return self.root / "preview.token"

    @property
    def counted(self) -> Path:
        """What the workers before the current ones counted."""
        return self.root / "counted.json"

    @property
    def requests(self) -> Path:
        """The socket on which each worker tells what it answers."""
        return self.root / "requests.sock"

    @property
    def waker(self) -> Path:
        """The folder of the process that wakes services."""
        return self.root / "waker"

    def staging(self) -> Home:
        """Return the place where a new configuration is validated; `-f FOLDER` loads no sub-folders."""
        root = self.root / "staging"
        inside = replace(self.inside, folder=root)
        return Home(root, root / self.config.name, self._mode, inside, self.certificates, lasting=False)

    def create(self) -> None:
        """Make the folders and the token."""
        for folder in (self.root, self.services, self.maps):
            _make(folder, self._mode)
        _make(self.certificates, 0o700)
        if not self.token.exists():
            import secrets

            write(self.token, secrets.token_urlsafe(24) + "\n", 0o600)

    def write(self, path: Path, text: str) -> None:
        """Replace a file of the proxy as a whole; one with secrets is for its owner alone."""
        private = path == self.keys or path.parent == self.services
        write(path, text, 0o600 if private else None, lasting=self._lasting)

    def has_token(self) -> bool:
        """Return whether the secret of the preview route is there, and only its owner can read it."""
        return bool((read(self.token) or "").strip()) and not self.token.stat().st_mode & 0o077

    def remove(self) -> None:
        """Remove everything, the lock last: whoever waits for it may begin again as soon as it is gone."""
        import shutil

        self.config.unlink(missing_ok=True)
        lock = self._lock()
        for path in list(self.root.iterdir()) if self.root.exists() else []:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path != lock:
                path.unlink()
        lock.unlink(missing_ok=True)
        try:
            self.root.rmdir()
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.ENOENT):  # the next one was there already
                raise

    @contextmanager
    def locked(self, deadline: Deadline) -> Iterator[None]:
        """Hold the lock under which files and running proxy change together."""
        lock = FileLock(self._lock())
        with _held(lock, lambda: self._take(lock), deadline):
            yield

    @contextmanager
    def reading(self, deadline: Deadline) -> Iterator[None]:
        """Hold off changes while files and running proxy are read together. Nothing is written, others may read too."""
        lock = FileLock(self._lock(), reads=True)
        with _held(lock, lambda: self._share(lock), deadline):
            yield

    def _share(self, lock: FileLock) -> bool:
        """Take the lock with others that read; where its file is gone nobody holds it."""
        try:
            return lock.try_take()
        except FileNotFoundError:
            return True
        except OSError as error:
            raise DriverFailed(f"{lock.path} cannot be read: {error.strerror}", "check its permissions") from None

    def _take(self, lock: FileLock) -> bool:
        """Take the lock; not when somebody holds it, or removes it with everything else just now."""
        there = self.root
        try:
            files.folder(there, self._mode)
            there = lock.path
            return lock.try_take()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise _refused(there, error) from None

    def _lock(self) -> Path:
        return self.root / "lock"


@contextmanager
def _held(lock: FileLock, take: Callable[[], bool], deadline: Deadline) -> Iterator[None]:
    if not deadline.wait(take, every=0.01):
        who = ", ".join(holders(lock.path))
        how = "let it go on (kill -CONT) or end it (kill -9)" if "(stopped)" in who else "wait for it to end"
        held = f"{lock.path} is held by {who or 'another command'}"
        raise LockHeld(f"{held}: not within {deadline.seconds:.3g} s", how)
    try:
        yield
    finally:
        lock.let_go()


def _make(folder: Path, mode: int) -> None:
    try:
        files.folder(folder, mode)
    except OSError as error:
        raise _refused(folder, error) from None


def _refused(path: Path, error: OSError) -> Refused:
    return Refused(f"{path} cannot be written: {error.strerror}", "give a state folder that this user may write to")


def write(path: Path, text: str, mode: int | None = None, *, lasting: bool = True) -> None:
    """Have a file be this text as a whole, and last; unless `mode` is given, it is as private as its folder.

    One that is so already is left alone: with many services most are.
    """
    try:
        others = path.parent.stat().st_mode & 0o077
        mode = mode or (0o644 if others else 0o600)
        if path.is_file() and path.lstat().st_mode & 0o170777 == 0o100000 | mode and path.read_bytes() == text.encode():
            return
        files.replace(path, text, mode, lasting=lasting)
    except OSError as error:
        raise DriverFailed(f"{path} cannot be written: {error.strerror}", "is the disk full, or read-only?") from None


def read(path: Path) -> str | None:
    """Read a file; None when there is none. Raises DriverFailed for one that cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise DriverFailed(f"{path} cannot be read: {error}", "it is deployer's file; who changed it?") from None
