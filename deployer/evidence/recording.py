"""Recordings: what a judge saw, look by look, as append-only JSON lines that can be judged again (docs/report.md).

A file holds one or more drives, each begun by a header line. A rollout that is resumed has several. Numbers are exact:
who replays a recording comes to the same verdicts at the same looks. A look costs 50 bytes in a quiet service and
1.2 KB in one with 1,000 requests a second, which is 1 to 18 MB an hour; a recording ends at `LARGEST`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from deployer.core import files
from deployer.core.clock import Clock
from deployer.core.errors import Refused
from deployer.evidence.recording_format import is_empty, packed, unpacked
from deployer.model import FULL, Counts, Release, Sample

if TYPE_CHECKING:
    pass

FORMAT = 1
LARGEST = 256 << 20  # bytes of one file: days of a quiet service, most of a day of a busy one
KEPT = 100  # files in a folder
_HINT = "give a file that `deploy record` wrote"
_SHIELDED = re.compile(rb'"shielded":([0-9]{1,18})(?![0-9])')
_ROLLOUT = re.compile("[0-9]{1,18}")
LATEST = 1e12  # seconds: later than any clock
_IDLE = 240  # looks at which nothing had been answered that share a line: a minute of them


@dataclass(frozen=True)
class RecordedDrive:
    """One process began to watch: what its header says. The judge of a drive is a new one."""

    header: Mapping[str, Any]


@dataclass(frozen=True)
class RecordedStep:
    """A watch began at `share`; `following` is what comes next (basis points). `at` is monotonic seconds.

    `seconds` is how long it was to take; 0 is as long as needed. `early`: the proof may end it before.
    """

    share: int
    following: int
    at: float
    seconds: float = 0.0
    early: bool = False


@dataclass(frozen=True)
class Looked:
    """What one look at the stream found."""

    sample: Sample
    at: float


@dataclass(frozen=True)
class Cut:
    """The recording had reached its largest size; the rest of the drive is missing."""

    at: float


Mark = RecordedDrive | RecordedStep | Looked | Cut


def describe(release: Release, clock: Clock, *, rollout: int, origin: Release | None) -> dict[str, Any]:
    """Return the header of a drive: what was on trial, since when, and the policy that it was judged by."""
    manifest = release.manifest
    return {
        "service": release.service,
        "rollout": rollout,
        "release": release.number,
        "version": release.version,
        "origin": origin.number if origin else 0,
        "origin_version": origin.version if origin else "",
        "started_at": clock.now(),
        "monotonic": clock.monotonic(),
        "sticky": manifest.traffic.counts_clients,
        "routes": list(manifest.traffic.routes),
        "judge": manifest.judge.model_dump(mode="json", by_alias=True),
    }


class Recorder:
    """Appends one drive to a recording.

    A disk that is full must not end a rollout: after the first error nothing more is written, and `broken` keeps it.
    """

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.broken: OSError | None = None
        self._file: IO[str] | None = None
        self._size = 0
        self._idle: list[float] = []
        self._share = 0
        try:
            files.folder(path.parent)
            self._size = _mended(path)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._file = os.fdopen(os.open(path, flags, 0o600), "a", encoding="ascii")
        except OSError as error:
            self.broken = error
        self._write({"recording": FORMAT, **header})

    def watch(self, share: int, following: int, at: float, seconds: float = 0.0, *, early: bool = False) -> None:
        """Record that a watch began, to take so many seconds; 0 is as long as needed. `early`: a proof may end it."""
        self._rest()
        self._write({"watch": [share, following, seconds, *([True] if early else [])], "at": at})

    def sample(self, sample: Sample, at: float) -> None:
        """Record a look; looks at which nothing had been answered become one line together."""
        if is_empty(sample):
            if sample.share != self._share or len(self._idle) >= _IDLE:
                self._rest()
            self._share = sample.share
            self._idle.append(at)
            return
        self._rest()
        if self._size > LARGEST:
            self._write({"cut": LARGEST, "at": at})
            self._end()
            return
        self._write({"at": at, **packed(sample)})

    def close(self) -> None:
        """Write what waits, and close the file."""
        self._rest()
        self._end()

    def drop(self) -> None:
        """Close the file as it is: it is another process's by now."""
        self._idle = []
        self._end()

    def _rest(self) -> None:
        if self._idle:
            idle, self._idle = self._idle, []
            self._write({"idle": idle, "share": self._share})

    def _write(self, data: Mapping[str, Any]) -> None:
        if self._file is None:
            return
        line = json.dumps(data, separators=(",", ":"), default=str) + "\n"
        try:
            self._file.write(line)
            self._file.flush()  # what was judged must be there after a SIGKILL; a power cut may take the end
        except OSError as error:
            self.broken = error
            self._end()
        self._size += len(line)

    def _end(self) -> None:
        file, self._file = self._file, None
        try:
            if file:
                file.close()
        except OSError as error:
            self.broken = self.broken or error


@dataclass(frozen=True)
class Recording:
    """A recording on disk; going through it reads it line by line, and may be done again."""

    path: Path
    header: Mapping[str, Any]

    def __iter__(self) -> Iterator[Mark]:
        """Yield what was recorded in order, beginning with a Drive.

        A last line that was not written to its end is left out. Raises Refused with the number of any other bad line.
        """
        try:
            with self.path.open(encoding="utf-8") as lines:
                for number, line in enumerate(lines, 1):
                    yield from _read(self.path, number, line)
        except (OSError, UnicodeDecodeError) as error:
            raise Refused(f"{self.path} cannot be read: {error}", _HINT) from None


class NoRecording(Refused):
    """A file that can be read is no recording: it `lacks` something."""

    def __init__(self, path: Path, lacks: str) -> None:
        super().__init__(f"{path} is not a recording: {lacks}", _HINT)
        self.lacks = lacks


def begin(state: Path, release: Release, clock: Clock, *, rollout: int, origin: Release | None) -> Recorder:
    """Begin to record a drive of a rollout, and forget the oldest recordings of others."""
    file = file_of(state, rollout)
    recorder = Recorder(file, describe(release, clock, rollout=rollout, origin=origin))
    prune(file.parent)
    return recorder


def read(path: Path) -> Recording:
    """Open a recording. Raises NoRecording for a file that is none, Refused for one that cannot be read."""
    try:
        with path.open("rb") as lines:
            begins = lines.readline(65536)
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}", _HINT) from None
    if b'"recording":' not in begins:
        raise NoRecording(path, "its first line is not a header" if begins else "it is empty")
    first = next(iter(Recording(path, {})), None)
    if not isinstance(first, RecordedDrive):
        raise NoRecording(path, "its first line is not a header")
    return Recording(path, first.header)


def shielded(path: Path) -> int:
    """Count the responses of the candidate in a recording that its users did not see; fast, nothing else is read."""
    try:
        with path.open("rb") as lines:
            return sum(int(found[1]) for line in lines if (found := _SHIELDED.search(line)))
    except FileNotFoundError:
        return 0


def prune(folder: Path, keep: int = KEPT) -> tuple[str, ...]:
    """Remove the oldest recordings of rollouts until `keep` are left; return the names of the removed.

    One that cannot be removed stays for the next time: old files must not end a rollout.
    """
    there = sorted((f for f in folder.glob("*.jsonl") if _ROLLOUT.fullmatch(f.stem)), key=lambda f: int(f.stem))
    removed = []
    for file in there[: max(len(there) - keep, 0)]:
        with suppress(OSError):
            file.unlink()
            removed.append(file.name)
            file.with_suffix(".latest.json").unlink(missing_ok=True)  # of a process that was killed
    return tuple(removed)


def file_of(state: Path, rollout: int) -> Path:
    """Name the recording of a rollout in a state folder."""
    return state / "recordings" / f"{rollout}.jsonl"


def _mended(path: Path) -> int:
    """Cut off a line that a killed process left unfinished; return the size. A file that is new has none."""
    if not path.exists():
        return 0
    with path.open("r+b") as file:
        end = file.seek(0, 2)
        kept = end
        while kept:
            begin = max(kept - 65536, 0)
            file.seek(begin)
            newline = file.read(kept - begin).rfind(b"\n")
            kept = begin + newline + 1
            if newline >= 0:
                break
        if kept < end:
            file.truncate(kept)
    return kept


def _read(path: Path, number: int, line: str) -> Iterator[Mark]:
    if not line.strip():
        return
    try:
        data = json.loads(line)
        if not isinstance(data, dict):
            raise ValueError("no JSON object")
        marks = tuple(_marks(data))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        if not line.endswith("\n"):
            return  # whoever wrote it was killed
        raise Refused(
            f"{path}:{number}: not a line of a recording: {_told(error)}",
            f"the lines before it are fine: `head -n {number - 1}` gives them",
        ) from None
    yield from marks


def _told(error: Exception) -> str:
    """Return what is wrong with a line in words; a KeyError has only the key, quoted."""
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


def _marks(data: dict[str, Any]) -> Iterator[Mark]:
    if "recording" in data:
        if data["recording"] != FORMAT:
            raise ValueError(f"format {data['recording']}; this version reads {FORMAT}")
        _check_header(data)
        yield RecordedDrive(data)
    elif "watch" in data:
        share, following, seconds, *early = data["watch"]
        yield RecordedStep(_share(share), _share(following), _moment(data["at"]), _moment(seconds), early == [True])
    elif "idle" in data:
        for at in data["idle"]:
            yield Looked(Sample(Counts(), Counts(), _share(data["share"])), _moment(at))
    elif "cut" in data:
        yield Cut(_moment(data["at"]))
    else:
        sample = unpacked(data)
        _share(sample.share)
        yield Looked(sample, _moment(data["at"]))


def _share(value: Any) -> int:
    if not 0 <= int(value) <= FULL:
        raise ValueError(f"a share of {value!r} is not between 0 and {FULL}")
    return int(value)


def _moment(value: Any) -> float:
    at = float(value)
    if not -LATEST < at < LATEST:
        raise ValueError(f"{value!r} is not a time")
    return at


def _check_header(data: Mapping[str, Any]) -> None:
    """Raise ValueError or TypeError for a header whose fields are not of their kind; any may be missing."""
    for key in ("started_at", "monotonic"):
        _moment(data.get(key, 0))
    int(data.get("rollout", 0))
    routes = data.get("routes") or ()
    if not all(isinstance(route, str) for route in routes):
        raise ValueError("its routes are not texts")
    from deployer.manifest.models import Judge

    Judge.model_validate(data.get("judge") or {})
