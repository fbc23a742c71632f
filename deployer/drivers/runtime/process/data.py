"""The data of processes: the folders of this host that `mounts` names, read and written as they are."""

from __future__ import annotations

import os
import re
import tarfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from deployer.bundle import data
from deployer.core.clock import Deadline
from deployer.core.errors import Refused
from deployer.drivers.ports.data import Restoring, SavedData
from deployer.drivers.runtime.data_lock import alone
from deployer.drivers.runtime.process import folder_archive

if TYPE_CHECKING:
    from deployer.drivers.jobs import JobRuntime
    from deployer.drivers.ports import RuntimeCare
    from deployer.manifest.models import Manifest

_FLAGS = re.compile(r"^flags:\s*(\d+)", re.MULTILINE)


class ProcessData:
    """The folders that a service writes to, by their paths, which may be links; `scratch` is for a lock."""

    kind: Literal["mount", "playbook"] = "mount"

    def __init__(self, manifest: Manifest, runtime: RuntimeCare, jobs: JobRuntime, scratch: Path) -> None:
        self._service, self._folders = manifest.service, [mount.source for mount in manifest.mounts]
        self._runtime, self._jobs, self._scratch = runtime, jobs, scratch

    def names(self) -> tuple[str, ...]:
        """Return the folders."""
        if not self._folders:
            raise Refused("the service has no data of its own", "`mounts` names the folders that it writes to")
        return tuple(sorted(self._folders))

    def source(self, name: str) -> str:
        """Return the folder itself."""
        if name not in self._folders:
            raise Refused(f"the bundle has data for {name}, which `mounts` does not name", "see `mounts`")
        return name

    def save(self, name: str, _image: str, target: Path, deadline: Deadline) -> None:
        """Copy the folder into a file; nothing of the service may be running, and nothing may be writing there."""
        folder = Path(self.source(name)).resolve()
        with alone(self._scratch, deadline):
            self._refuse_used(folder)
            if not folder.is_dir():
                raise Refused(f"there is no folder {folder}", "there is nothing to save")
            with target.open("wb") as file:
                _read(folder, file, deadline)
            self._refuse_used(folder)

    def is_free(self, name: str, _image: str, _deadline: Deadline, *, overwrite: bool) -> bool:  # noqa: ARG002 - a word of the port
        """Return whether the folder is not there or empty: of a folder nothing is ever removed."""
        return _is_empty(Path(self.source(name)).resolve())

    def restore(self, name: str, _image: str, saved: SavedData, deadline: Deadline, how: Restoring) -> None:
        """Fill the folder and read it back."""
        folder = Path(self.source(name)).resolve()
        with alone(self._scratch, deadline):
            self._refuse_used(folder)
            if not how.begun and not _is_empty(folder):
                raise Refused(f"{folder} is not empty", "deployer removes nothing of a folder: empty it by hand")
            how.begins()
            _fill(folder, saved, deadline)
            hashed = data.Hashed()
            _read(folder, hashed, deadline)
            if hashed.digest != saved.digest:
                raise Refused(
                    f"{folder} does not read back as written: {hashed.digest[:19]} instead of {saved.digest[:19]}",
                    "does something else write to it, or does its file system keep no owners and modes?",
                )

    def _refuse_used(self, folder: Path) -> None:
        """Raise Refused where something of the service is left, or where any program may write to the folder."""
        there = [f"{i.name} ({i.state})" for i in self._runtime.instances(self._service)]
        runs = (run for run in self._jobs.list_all() if run.service == self._service)
        there += [f"{run.name} ({run.state})" for run in runs if run.state != "exited"]
        if there:
            raise Refused(f"{there[0]} may write to {folder}", "stop the service first: `deploy down`")
        if (writer := _writer(folder)) is not None:
            raise Refused(f"{writer} has a file in {folder} open to write", "stop that program first")


def _is_empty(folder: Path) -> bool:
    if not folder.exists():
        return True
    return folder.is_dir() and not any(folder.iterdir())


def _read(folder: Path, target: data.ByteSink, deadline: Deadline) -> None:
    try:
        data.write(deadline.over(folder_archive.pack(folder), f"read {folder}"), target)
    except (ValueError, tarfile.TarError) as error:
        raise Refused(f"{folder} cannot be saved: {error}", "remove that, or save the data by a command") from None
    except OSError as error:
        raise Refused(f"{folder} cannot be saved: {_said(error)}", "may the user who deploys read it?") from error


def _fill(folder: Path, saved: SavedData, deadline: Deadline) -> None:
    pieces = deadline.over(filter(None, saved.read()), f"fill {folder}")
    try:
        folder.mkdir(exist_ok=True)
        folder_archive.unpack(data.members(pieces), folder)
    except (ValueError, tarfile.TarError) as error:
        raise Refused(f"{folder} cannot be filled: {error}", "call the same as root, or empty the folder") from None
    except OSError as error:
        said = f"{folder} cannot be filled with {saved.size:,} bytes: {_said(error)}"
        raise Refused(said, "change that, and call the same again: it continues") from error


def _said(error: OSError) -> str:
    return f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"


def _writer(folder: Path) -> str | None:
    """Return a program that has a file below a folder open to write; of other users only root sees that."""
    below = f"{folder}/"
    for opened in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):  # it has ended, or belongs to another user
            if str(opened.readlink()).startswith(below) and _writes(opened):
                process = opened.parents[1]
                return f"{(process / 'comm').read_text('utf-8', 'replace').strip()} ({process.name})"
    return None


def _writes(opened: Path) -> bool:
    flags = _FLAGS.search((opened.parents[1] / "fdinfo" / opened.name).read_text("ascii"))
    return flags is not None and int(flags[1], 8) & os.O_ACCMODE != os.O_RDONLY
