"""The sockets by which a proxy reaches itself: files that only the proxy may open.

Abstract sockets have no owner: another user of the host could take their names first, and see what is sent there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from deployer.core.digest import sha256
from deployer.drivers.traffic.haproxy.quote import plain_path, word

PREFIX = "s-"  # with ten digits of a name: no longer than the other sockets of the folder


@dataclass(frozen=True)
class Inside:
    """The folder of these sockets, and how a worker sees it and may open them.

    A proxy listens before it changes its root, and connects after that.
    """

    folder: Path
    chroot: str = ""
    user: str = ""

    def bind(self, name: str) -> str:
        """Return the address on which the proxy listens, with what keeps others out."""
        return f"unix@{self.path(name)} mode 600{self.user}"

    @lru_cache  # noqa: B019 - of a few proxies; each backend of each service asks for the same
    def server(self, name: str) -> str:
        """Return the same address for a worker that connects."""
        return f"unix@{'/' + self.path(name).name if self.chroot else self.path(name)}"

    def path(self, name: str) -> Path:
        """Return the file of a socket; proxies that share a chroot have different ones."""
        digest = sha256(f"{self.folder}\0{name}".encode())[:10]
        return Path(self.chroot or self.folder) / f"{PREFIX}{digest}"

    def collect_garbage(self, wanted: Iterable[str]) -> None:
        """Remove the files of sockets that no service has any more."""
        keep = {self.path(name) for name in wanted}
        for path in set(self.folder.glob(f"{PREFIX}*")) - keep:
            path.unlink(missing_ok=True)


def of_team(folder: Path, main: Iterable[Path]) -> Inside:
    """Return the place for a proxy that a team runs: in its chroot, for its user, as its configuration says."""
    said = dict(_globals(main))
    chroot = said.get("chroot", "").rstrip("/")
    user = next((f" {kind} {word(said[kind])}" for kind in ("user", "uid") if kind in said), "")
    return Inside(folder, plain_path(chroot) if chroot else "", user)


def _globals(main: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """Yield the settings of the sections `global`; HAProxy itself says of a file what is wrong with it."""
    section = ""
    for path in main:
        for file in sorted(path.glob("*.cfg")) if path.is_dir() else (path,):
            for line in _lines(file):
                words = [each.strip("\"'") for each in line.partition("#")[0].split()]
                if words and not line[0].isspace():
                    section = words[0]
                if section == "global" and len(words) > 1:
                    yield words[0], words[1]


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
