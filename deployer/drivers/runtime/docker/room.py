"""How much room there is where an engine keeps its data, as far as that can be seen from here."""

from __future__ import annotations

import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

from deployer.core.errors import Refused
from deployer.drivers.runtime.docker.engine import Engine

FULL = "no space left"  # what an engine repeats of the kernel's ENOSPC
MAKE_ROOM = "make room there (`docker system df`), and call the same again: it continues"


@dataclass(frozen=True)
class DiskRoom:
    """The folder of an engine's data, and the bytes that are free there."""

    folder: Path
    free: int

    def __str__(self) -> str:
        """Write it behind an error of the engine."""
        return f"; {self.free:,} bytes are free in {self.folder}"


def room(engine: Engine) -> DiskRoom | None:
    """Return the room of an engine of this host; None where its data is elsewhere, or nobody here may look."""
    with engine.client("where the engine keeps its data") as client:
        said = client.info()
    folder = Path(str(said.get("DockerRootDir") or ""))
    elsewhere = any("containerd" in str(value) for _, value in said.get("DriverStatus") or ())
    if elsewhere or said.get("Name") != socket.gethostname():
        return None
    try:
        return DiskRoom(folder, shutil.disk_usage(folder).free)
    except OSError:
        return None


def refuse_full(engine: Engine, what: str, size: int) -> None:
    """Raise Refused where the engine cannot have room for so many bytes."""
    found = room(engine)
    if found is not None and size > found.free:
        raise Refused(
            f"{what} needs {size:,} bytes in {found.folder}, where the engine keeps its data; {found.free:,} are free",
            MAKE_ROOM,
        )


def told_full(engine: Engine, said: str) -> tuple[str, str]:
    """Return what an engine said with the room that it has, where it is full, and what to do."""
    if FULL not in said:
        return said, "see its log"
    return f"{said}{room(engine) or ''}", MAKE_ROOM
