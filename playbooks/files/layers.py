"""Saves an image without the layers that a machine has: layers.py IMAGE FOLDER < KNOWN. Prints the path of the archive.

Each line of KNOWN is the JSON list of the layers (`.RootFS.Layers`) of an image that is there. An engine takes a layer
for known only together with all those below it. What several machines need of FOLDER is made once.
"""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from itertools import takewhile
from pathlib import Path
from typing import IO

_SECONDS = 1800


def lower(ours: list[str], theirs: Iterable[list[str]]) -> int:
    """Return how many of our layers, from the lowest up, are there."""
    return max((sum(1 for _ in takewhile(same, zip(ours, other, strict=False))) for other in theirs), default=0)


def same(pair: tuple[str, str]) -> bool:
    """Return whether two layers are one."""
    return pair[0] == pair[1]


def unneeded(archive: tarfile.TarFile, theirs: list[list[str]]) -> set[str]:
    """Return the members of an archive that need not be sent."""
    (image,) = json.load(member(archive, "manifest.json"))
    there = lower(json.load(member(archive, image["Config"]))["rootfs"]["diff_ids"], theirs)
    return set(image["Layers"][:there]) - set(image["Layers"][there:])


def member(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    """Open a member."""
    opened = archive.extractfile(name)
    if opened is None:
        raise SystemExit(f"{name} is missing in the archive")
    return opened


def reduced(whole: Path, theirs: list[list[str]]) -> Path:
    """Write the archive without what is known there, unless that was done for another machine; return its path."""
    with tarfile.open(whole) as archive:
        left_out = unneeded(archive, theirs)
        part = whole.with_name(f"without-{len(left_out)}.tar")
        if not left_out or part.exists():
            return part if left_out else whole
        with tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as out:
            for entry in archive:
                if entry.name not in left_out:
                    out.addfile(entry, archive.extractfile(entry) if entry.isreg() else None)
    return part


def main() -> None:
    """Do it, one machine after the other."""
    image, folder = sys.argv[1], Path(sys.argv[2])
    theirs = [json.loads(line) for line in sys.stdin if line.strip()]
    whole = folder / "whole.tar"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not whole.exists():
            subprocess.run(["docker", "save", "--output", whole, image], check=True, timeout=_SECONDS)
        print(reduced(whole, theirs))


if __name__ == "__main__":
    main()
