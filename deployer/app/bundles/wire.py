"""Sending a bundle to another host: first what it holds, then only those parts that are not there.

Both ends of one ssh. Here: a hello with name and sizes, the contents. There: one line with the parts that are missing.
Here: a bundle with these parts. There: one line with where it is now, or why it was refused.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from deployer.app.bundles.install import missing_parts
from deployer.app.operations.context import AppContext
from deployer.bundle.contents import Contents, digest_of
from deployer.bundle.reader import MOST_CONTENTS, Bundle, opened
from deployer.bundle.writer import stream, write
from deployer.core.clock import Clock, Deadline
from deployer.core.errors import DeployError, Refused, Unreachable
from deployer.core.host import Host
from deployer.transport import greeting
from deployer.transport.ssh_link import SshLink
from deployer.transport.ssh_process import FarCommand
from deployer.transport.timeouts import PATIENT

COMMAND = FarCommand("deploy bundle receive --stdio", "install it there, where ssh finds commands: docs/install.md")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_LINE = 64 * 1024 * 1024  # bytes: a digest for each part that is missing
_STALLED = 120.0  # seconds in which nothing more of a bundle was taken
_ANSWER = 900.0  # seconds for the other end to write and check it
_PIECE = 64 * 1024


@dataclass(frozen=True)
class Sent:
    """Where a bundle is on the other host, and how many bytes went over."""

    file: str
    bytes: int


def send(path: Path, host: Host, folder: str, clock: Clock) -> Sent:
    """Send a bundle to a folder of a host. Raise Refused, and Unreachable where the connection breaks."""
    if not _NAME.fullmatch(path.name):
        raise Refused(f"{path.name!a} cannot be the name of a file there", "letters, digits and ._-")
    with opened(path) as bundle:
        bundle.check()
        contents = bundle.contents.data()
        hello = {"name": path.name, "folder": folder, "contents": len(contents), "digest": bundle.index.contents}
        link = SshLink(host, COMMAND, hello, clock, PATIENT)
        try:
            greeting.same_version(link.welcome)
            link.lines.longest = _LINE
            return _sent(link, bundle, contents, clock)
        except (OSError, EOFError, TimeoutError) as error:
            raise Unreachable(f"{host.ssh_host}: {link.lost()} ({error})", "send it again") from None
        finally:
            link.close()


def _sent(link: SshLink, bundle: Bundle, contents: bytes, clock: Clock) -> Sent:
    link.socket.settimeout(_STALLED)
    link.socket.sendall(contents)
    missing = set(_line(link, clock).get("missing", ()))
    if lacking := sorted(missing & set(bundle.index.left_out)):
        raise Refused(
            f"{bundle.path} leaves out {len(lacking)} parts that are not there: {', '.join(lacking[:3])}",
            "send the bundle that was named by --since first",
        )
    left_out, count = bundle.contents.parts().keys() - missing, 0
    for piece in stream(bundle.contents, bundle.chunks, left_out, bundle.index.signature):
        count += len(piece)
        for at in range(0, len(piece), _PIECE):
            link.socket.sendall(piece[at : at + _PIECE])
    link.socket.shutdown(socket.SHUT_WR)
    return Sent(str(_line(link, clock)["file"]), count)


def _line(link: SshLink, clock: Clock) -> dict[str, Any]:
    return greeting.read(link.lines.next(Deadline.after(clock, _ANSWER)), "the other host")


def receive(house: AppContext, source: IO[bytes], target: IO[bytes]) -> None:
    """Serve one sender: say what is missing here, and keep what comes, once it is proven."""
    try:
        data = greeting.read(source.readline(greeting.LONGEST), "the sender")
        greeting.same_version(data, "with the sender")
        place = _place(data)
        _say(target, {})
        contents = _contents(source, data)
        wanted = set(contents.parts()) - contents.needed()
        missing = contents.needed() | missing_parts(house, contents, wanted)
        _say(target, {"missing": sorted(missing)})
        write(place, iter(lambda: source.read(_PIECE), b""), _prove)
        _say(target, {"file": str(place)})
    except DeployError as error:
        with suppress(OSError):  # the sender is gone
            target.write(greeting.refusal(error))
            target.flush()


def _place(data: Mapping[str, Any]) -> Path:
    name, folder = str(data.get("name", "")), Path(str(data.get("folder", "")) or ".").expanduser()
    if not _NAME.fullmatch(name):
        raise Refused(f"{name!a} cannot be the name of a file here", "letters, digits and ._-")
    if not folder.is_dir():
        raise Refused(f"there is no folder {folder} there", "name one: ssh://HOST/FOLDER")
    return folder.absolute() / name


def _contents(source: IO[bytes], data: Mapping[str, Any]) -> Contents:
    size = data.get("contents")
    if not isinstance(size, int) or not 0 < size <= MOST_CONTENTS:
        raise Refused("the sender announces no contents", greeting.SAME)
    said = source.read(size)
    if digest_of(said) != data.get("digest"):
        raise Refused("the contents arrived damaged", "send it again")
    try:
        return Contents.read(said)
    except ValueError as error:
        raise Refused(f"the contents cannot be read: {error}", greeting.SAME) from None


def _prove(written: Path) -> None:
    with opened(written) as bundle:
        bundle.check()


def _say(target: IO[bytes], data: Mapping[str, Any]) -> None:
    target.write(greeting.welcome(data))
    target.flush()
