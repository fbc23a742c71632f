"""Looking for secrets where none may be: in what commands print, in files, in the arguments of every process."""

from __future__ import annotations

import base64
import json
import secrets
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

PAUSE = 0.002  # seconds between two looks at all processes
LARGEST = 4 << 20  # bytes of one file that are read while others write it


def needle(name: str) -> str:
    """Make a value that stands nowhere by chance, with characters that get quoted in one way or another."""
    return f"needle-{name}-{secrets.token_hex(8)}/+\"'<&%"


def forms(value: str) -> tuple[bytes, ...]:
    """Return what a value may look like: as it is, quoted, and within anything in base64."""
    raw = value.encode()
    quoted = (
        json.dumps(value)[1:-1].encode(),
        quote(value, safe="").encode(),
        quote(value).encode(),
        repr(value)[1:-1].encode(),
    )
    # The letters of base64 that depend on nothing before or after the value
    inside = (
        base64.b64encode(b"\0" * shift + raw)[-(-shift * 8 // 6) : (shift + len(raw)) * 8 // 6] for shift in range(3)
    )
    # What is unmistakable of it survives every quoting
    return tuple(dict.fromkeys((raw, raw.partition(b"/")[0], *quoted, *inside)))


@dataclass
class Search:
    """Values by name, what was found of them so far, and how much was searched."""

    values: dict[str, str] = field(default_factory=dict)
    found: list[str] = field(default_factory=list)
    places: int = 0
    size: int = 0  # in bytes

    def plant(self, name: str) -> str:
        """Make a secret that will be looked for."""
        return self.also(name, needle(name))

    def also(self, name: str, value: str) -> str:
        """Look for this value, too."""
        self.values[name] = value
        return value

    def names_in(self, data: bytes) -> tuple[str, ...]:
        """Name the secrets that stand in some bytes."""
        return tuple(name for name, value in self.values.items() if any(form in data for form in forms(value)))

    def look(self, where: str, data: bytes | str, allowed: Iterable[str] = ()) -> None:
        """Search some bytes; `allowed` names what may stand there."""
        raw = data.encode(errors="surrogateescape") if isinstance(data, str) else data
        self.places += 1
        self.size += len(raw)
        self.found += [f"{name} in {where}" for name in self.names_in(raw) if name not in set(allowed)]

    def look_below(self, folder: Path, allowed: Mapping[str, Iterable[str]] | None = None) -> None:
        """Search all files of a folder; `allowed` gives by pattern of their paths what may stand there."""
        for file in files(folder):
            path = file.relative_to(folder)
            names = [name for pattern, some in (allowed or {}).items() if path.match(pattern) for name in some]
            with suppress(FileNotFoundError):  # it was replaced just now
                self.look(str(file), file.read_bytes(), names)


def files(folder: Path) -> Iterator[Path]:
    """Yield the plain files below a folder, while others may be changing it."""
    with suppress(FileNotFoundError):
        for path in folder.iterdir():
            if path.is_symlink() or path.name.startswith("pytest-of-"):  # unit tests beside this one write there
                continue
            if path.is_dir():
                yield from files(path)
            elif path.is_file():
                yield path


class Watch:
    """Looks at the arguments of every process, and at temporary files, as long as the block lasts."""

    def __init__(self, search: Search, folders: Iterable[Path], allowed: Mapping[str, Iterable[str]]) -> None:
        self._search = search
        self._folders = tuple(folders)
        self._allowed = allowed
        self._arguments: set[bytes] = set()
        self._texts: set[tuple[str, bytes]] = set()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.looks = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()
        for arguments in self._arguments:
            self._search.look(f"the arguments of a process: {arguments[:200]!r}", arguments)
        for name, text in self._texts:
            may = [value for pattern, some in self._allowed.items() if Path(name).match(pattern) for value in some]
            self._search.look(f"the temporary file {name}", text, may)

    def _run(self) -> None:
        while not self._end.wait(PAUSE):
            self.looks += 1
            for process in Path("/proc").iterdir():
                if process.name.isdecimal():
                    with suppress(OSError):
                        self._arguments.add((process / "cmdline").read_bytes())
            for folder in self._folders:
                for file in files(folder):
                    with suppress(OSError):
                        self._texts.add((str(file), file.read_bytes()[:LARGEST]))
