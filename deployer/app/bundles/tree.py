"""The tool itself as a bundle carries it: this installation with what it needs, as one tar archive."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import deployer
from deployer.bundle import tape
from deployer.bundle.contents import Part, Tool
from deployer.core.errors import Refused
from deployer.core.resources import Kind, builtin

_NAME = "twin-deployer"
_EXTRAS = ("haproxy",)  # what is taken along beside what the tool cannot do without
_BUILTIN: tuple[Kind, ...] = ("strategies", "playbooks", "inventories")


def write(file: IO[bytes]) -> None:
    """Write the archive; the same installation gives the same bytes. Raise Refused where this one is not whole."""
    found = dict(_distributions())
    for folder in _BUILTIN:
        found |= dict(_below(builtin(folder), f"deployer/builtin/{folder}"))
    package = Path(deployer.__file__).parent
    found |= {name: place for name, place in _below(package, "deployer") if "/builtin/" not in name}
    for name in sorted(found):
        if len(name.encode()) > 100:
            raise Refused(f"the name of {name} is too long for a bundle", "install deployer from its wheel")
        data = found[name].read_bytes()
        mode = 0o755 if found[name].stat().st_mode & 0o111 else 0o644
        for piece in tape.member(name, len(data), [data], mode):
            file.write(piece)
    file.write(tape.END)


def described(part: Part) -> Tool:
    """Return for which Python and which processor it is."""
    return Tool(python="{}.{}".format(*sys.version_info[:2]), machine=platform.machine(), tree=part)


def _distributions() -> Iterator[tuple[str, Path]]:
    """Return the files of all that is needed, by their names below a folder of packages."""
    waiting, met = [_NAME], set[str]()
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in met:
            continue
        met.add(name)
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # of another platform or version of Python, as its marker says
        waiting += _required(found.requires or (), _EXTRAS if name == _NAME else ())
        for file in found.files or ():
            place = Path(str(file.locate()))
            mine = name == _NAME and ".dist-info" not in file.parts[0]
            if ".." not in file.parts and "__pycache__" not in file.parts and place.is_file() and not mine:
                yield str(file), place


def _required(requires: Iterator[str] | list[str] | tuple[str, ...], extras: tuple[str, ...]) -> Iterator[str]:
    for requirement in requires:
        extra = re.search(r"extra\s*==\s*['\"]([\w-]+)", requirement)
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        if name and (extra is None or extra[1] in extras):
            yield name[0]


def _below(folder: Path, name: str) -> Iterator[tuple[str, Path]]:
    for place in sorted(folder.rglob("*")):
        if place.is_file() and "__pycache__" not in place.parts:
            yield f"{name}/{place.relative_to(folder)}", place
