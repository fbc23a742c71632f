"""A control host that is reached by ssh, as `--on` names it: nothing here needs more than the standard library."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from urllib.parse import unquote

from deployer.core.errors import Refused
from deployer.core.host import Host
from deployer.transport.ssh import by_hand
from deployer.transport.ssh_process import FarCommand

COMMAND = FarCommand(
    "deploy serve --stdio",
    "install it there with the extra `server`, where ssh finds commands, such as /usr/local/bin: docs/install.md",
)
BASE = "http://control"  # what requests are for; it is sent to nobody but the command
_URL = re.compile(
    r"ssh://(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9._-]{0,99})@)?"
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?)\]|(?P<host>[A-Za-z0-9_][A-Za-z0-9._-]{0,252}))"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>/[^?#]*)?"
)


@dataclass(frozen=True)
class Control:
    """A control host: its address as it was given, who told it, how ssh gets there, and the folder to be in there."""

    url: str
    told_by: str
    host: str
    user: str = ""
    port: int | None = None
    folder: str = ""  # absolute, or below `~/`; empty is where ssh begins
    ssh_args: tuple[str, ...] = ()

    @classmethod
    def of(cls, text: str, told_by: str, ssh_args: str = "") -> Control:
        """Read an address and options of ssh. Raises Refused."""
        url = text.strip()
        match = _URL.fullmatch(url)
        port = int(match["port"]) if match and match["port"] else None
        folder = unquote(match["path"] or "") if match else ""
        if match is None or port == 0 or (port or 0) > 65535 or not folder.isprintable():
            shown = re.sub(r"//[^/]*@", "//…@", url)[:100]  # somebody may have put a password there
            raise Refused(
                f"{told_by}: {shown!a} is not an address of a control host",
                "ssh://[USER@]HOST[:PORT][/FOLDER], such as ssh://deploy@control.example.com/srv/shop",
            )
        try:
            options = tuple(shlex.split(ssh_args))
        except ValueError as error:
            raise Refused(f"the options of ssh cannot be read: {error}", "quote them as in a shell") from None
        folder = folder.rstrip("/").removeprefix("/") if folder.startswith("/~/") else folder.rstrip("/")
        return cls(url, told_by, match["v6"] or match["host"], match["user"] or "", port, folder, options)

    has_state = True  # the client may name a state folder there

    @property
    def option(self) -> str:
        """Return what names it on a command line."""
        return f"--on {self.url}"

    @property
    def base(self) -> str:
        """Return what the addresses of requests begin with."""
        return BASE

    @property
    def there(self) -> Host:
        """Return how ssh gets there."""
        return Host(self.host, "", "ssh", self.host, self.port, self.user, ssh_args=self.ssh_args)

    def by_hand(self, command: str) -> str:
        """Return what a person would type to have a command done there."""
        return by_hand(self.there, command)

    @property
    def unreached(self) -> str:
        """Return what to look at when there is no answer."""
        return f"does `{self.by_hand('true')}` work from here?"

    def refusal(self, command: str) -> Refused:
        """Return the error that a command is only for the host where it is called."""
        without = "leave --on out" if self.told_by == "--on" else f"unset {self.told_by}"
        there = f"cd {shlex.quote(self.folder)} && {command}" if self.folder.startswith("/") else command
        return Refused(
            f"{command} works on the host where it is called, not through --on",
            f"call it there: `{self.by_hand(there)}`; or {without} to mean this host",
        )
