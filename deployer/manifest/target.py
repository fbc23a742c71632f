"""Which service a command line means: the one that it names, the manifest's, or the only one there is."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deployer.core.errors import Refused
from deployer.core.limits import SERVICE
from deployer.manifest.peek import service_of

_SERVICE = re.compile(SERVICE)


def service_name(text: str, what: str = "a service") -> str:
    """Return the name of a service, or of a set. Raise Refused for what cannot be one."""
    if not _SERVICE.fullmatch(text):
        shown = text if len(text) <= 60 else f"{text[:60]}…"
        raise Refused(f"{shown!a} cannot be the name of {what}", "lower-case letters, digits and -, e.g. shop")
    return text


@dataclass(frozen=True)
class Target:
    """What a command line says of the service (or the set) and the manifest (or the release file) that it means.

    `named` tells that the file was named, and is not the one that is taken by default.
    """

    service: str | None = None
    file: Path = Path("deploy.yml")
    destination: str = ""
    named: bool = False
    set_name: str | None = None

    @property
    def manifest_here(self) -> bool:
        """Return whether a manifest, or a release file, of this host is meant."""
        return self.named or (self.service is None and self.set_name is None and self.file.exists())

    def peeked(self) -> str:
        """Return the service of the manifest; nothing without one.

        It is only peeked at: a broken manifest must not stop an emergency command.
        """
        found = service_of(self.file, self.destination)
        return service_name(found) if found else ""

    def service_of(self, services: Callable[[], Sequence[str]]) -> str:
        """Return the service that is meant, of `services`; nothing where there are none. Raise Refused for a choice."""
        if self.service is not None:
            return service_name(self.service)
        if peeked := self.peeked():
            return peeked
        known = services()
        if len(known) > 1:
            raise Refused(
                f"there are {len(known)} services here: {', '.join(known)}", "say which one with --service NAME"
            )
        return known[0] if known else ""

    def set_of(self, sets: Callable[[], Sequence[str]], environ: Mapping[str, str]) -> str:
        """Return the set that is meant, of `sets`; nothing where there are none. Raise Refused for a choice."""
        from deployer.manifest.release_file import read

        if self.set_name is not None:
            return service_name(self.set_name, "a set")
        if self.manifest_here:
            return read(self.file, environ).release
        known = sets()
        if len(known) > 1:
            raise Refused(f"there are {len(known)} sets here: {', '.join(known)}", "say which one with --set NAME")
        return known[0] if known else ""
