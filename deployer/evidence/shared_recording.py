"""Recordings where hosts share the store: who records brings the lines there, who reads has them brought here.

The host that records has the file in any case: what cannot be brought at the moment is brought a second later.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from deployer.core import files
from deployer.core.background import BackgroundThread
from deployer.core.errors import LockLost, StoreFailed
from deployer.core.filelock import FileLock
from deployer.evidence import recording
from deployer.evidence.recording import KEPT, file_of
from deployer.store import Lock, Store
from deployer.store.shared import Recordings

EVERY = 1.0  # seconds between two looks at what was recorded
PIECE = 1 << 20  # bytes of one row
COMPARED = 4096  # bytes at the end of what two hosts have
WAIT_SECONDS = 10.0  # for another process of this host that reads the same recording


class SharedRecording:
    """Brings a recording into the store, as long as it is open; does nothing where no other host reads it.

    `tell` gets a sentence at the end where something could not be brought.
    """

    def __init__(self, store: Store, lock: Lock, rollout: int, tell: Callable[[str], object]) -> None:
        self._store, self._lock, self._rollout, self._tell = store, lock, rollout, tell
        self._file, self._at, self._broken = file_of(store.folder, rollout), 0, ""
        self._thread = BackgroundThread("recording", self._bring_all, patience=WAIT_SECONDS)

    def start(self) -> None:
        """Begin, with what the store has of it already: it is in the file then, which the recorder goes on with."""
        if (shared := self._store.shared) is not None:
            brought(self._store, self._rollout)
            shared.recordings.prune(KEPT)
            self._at = shared.recordings.size(self._rollout)
            self._thread.start()

    def close(self) -> None:
        """Bring what is left."""
        self._thread.stop()
        self._thread.check()
        if self._broken:
            self._tell(f"the end of the recording is on this host alone, in {self._file}: {self._broken}")

    def _bring_all(self, over: threading.Event) -> None:
        ended = False
        with suppress(LockLost):  # the recording is another process's by now
            while not ended:
                ended = over.wait(EVERY)  # once more after the end: the last lines
                try:
                    while self._bring():
                        pass
                    self._broken = ""
                except StoreFailed as error:
                    self._broken = error.message
                except OSError as error:
                    self._broken = str(error)

    def _bring(self) -> bool:
        """Bring one piece of whole lines; return whether there was one."""
        if (shared := self._store.shared) is None or not self._file.exists():
            return False
        with self._file.open("rb") as file:
            file.seek(self._at)
            lines = file.read(PIECE)
        lines = lines[: lines.rfind(b"\n") + 1]
        if lines:
            shared.recordings.add(self._lock, self._rollout, self._at, lines.decode("ascii"))
            self._at += len(lines)
        return bool(lines)


def brought(store: Store, rollout: int) -> Path:
    """Return the file of a recording, with what other hosts have recorded of it. Raise StoreFailed."""
    file = file_of(store.folder, rollout)
    if store.shared is None or not (there := store.shared.recordings.size(rollout)):
        return file
    try:
        files.folder(file.parent)
        with FileLock(file.with_name(".lock")).held(WAIT_SECONDS):
            _bring_here(store.shared.recordings, rollout, there, file)
    except OSError as error:
        raise StoreFailed(f"{file} cannot be written: {error.strerror}", "free some space") from None
    return file


def shielded(store: Store, rollout: int) -> int:
    """Count the responses of the candidate of a rollout that its users did not see."""
    return recording.shielded(brought(store, rollout))


def _bring_here(recordings: Recordings, rollout: int, there: int, file: Path) -> None:
    """Append what is missing; a file that went another way, on a host that was overtaken, is written anew."""
    with os.fdopen(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b") as here:
        size = here.seek(0, os.SEEK_END)
        if not _agree(here, recordings, rollout, min(size, there)):
            here.truncate(0)
            size = 0
        if size < there:
            here.seek(size)
            for lines in recordings.read(rollout, size):
                here.write(lines.encode("ascii"))


def _agree(here: IO[bytes], recordings: Recordings, rollout: int, common: int) -> bool:
    """Return whether the end of what both have is the same."""
    begin = max(common - COMPARED, 0)
    here.seek(begin)
    mine, theirs = here.read(common - begin), b""
    for lines in recordings.read(rollout, begin):
        theirs += lines.encode("ascii")
        if len(theirs) >= len(mine):
            break
    return mine == theirs[: len(mine)]
