"""How ssh is started, in one way for all that goes over it: its options, its time-outs, and what its failures mean.

Nothing here needs more than the standard library.
"""

from __future__ import annotations

import hashlib
import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from deployer.core import files
from deployer.core.commands import CommandFailed
from deployer.core.host import Host
from deployer.core.limits import SOCKET_OF_SSH
from deployer.transport.timeouts import KEPT_SECONDS, MISSED, PATIENT, QUICK, HostTimeouts

FAILED = 255  # what ssh exits with when it failed itself
NOT_FOUND = 127  # what a shell says of a command that there is not
UNCHECKED = ("-o", "StrictHostKeyChecking=no")  # host keys
# It never asks. Host keys are checked, since BatchMode refuses what ssh would ask about.
_SILENT = ("-o", "BatchMode=yes")
ALONE = ("-T", "-x", "-o", "ControlMaster=no", "-o", "ControlPath=none")  # shared, it would not end with its owner


def _alive(within: HostTimeouts) -> tuple[str, ...]:
    """Return the options without which a cable that was pulled hangs for ever."""
    return ("-o", f"ServerAliveInterval={within.alive}", "-o", f"ServerAliveCountMax={MISSED}", *_SILENT)


def _options(within: HostTimeouts) -> tuple[str, ...]:
    return (*_alive(within), "-o", f"ConnectTimeout={within.connect}")


ANSIBLE = " ".join(_alive(PATIENT))  # it has a time-out of its own to connect
GIT = " ".join(("ssh", *_options(PATIENT)))


def line(host: Host, within: HostTimeouts, *options: str) -> list[str]:
    """Return a command line of ssh up to and with the name of the host; a command may follow it.

    The first value of an option wins: `options` before those of the inventory, and these before the time-outs.
    """
    words = ["ssh", *options, *host.ssh_args]
    if host.port is not None:
        words += ["-p", str(host.port)]
    if host.user:
        words += ["-l", host.user]
    if host.key_file:
        words += ["-o", "IdentitiesOnly=yes", "-i", host.key_file]
    return [*words, *_options(within), "--", host.ssh_host]


def by_hand(host: Host, command: str = "") -> str:
    """Return what a person would type to get there, or to have a command done there."""
    key = ["-i", host.key_file] if host.key_file else []
    port = ["-p", str(host.port)] if host.port is not None else []
    to = f"{host.user}@{host.ssh_host}" if host.user else host.ssh_host
    return shlex.join(["ssh", *host.ssh_args, *key, *port, to, *([command] if command else [])])


def forward(here: str, there: str) -> str:
    """Return what a person would type to have a socket of a host here."""
    return f"ssh -nNT -o ServerAliveInterval={QUICK.alive} -L {here}:{there} HOST"


def shared(socket: str) -> tuple[str, ...]:
    """Return the options for a connection that others share by this socket, and find kept; alone where it is ""."""
    if not socket:
        return ALONE
    kept = ("ControlMaster=auto", f"ControlPath={socket}", f"ControlPersist={KEPT_SECONDS}")
    return ("-T", "-x", *(part for option in kept for part in ("-o", option)))


def shared_socket(folder: Path, host: Host) -> str:
    """Return the socket in a folder by which connections to a host are shared; "" where its path can be none."""
    path = folder / f".ssh-{hashlib.sha256(repr(host).encode()).hexdigest()[:10]}"
    if len(os.fsencode(path)) > SOCKET_OF_SSH or not files.PLAIN_PATH.fullmatch(str(path)):
        return ""
    try:
        files.folder(folder, 0o700)
    except OSError:  # each connection is one of its own then
        return ""
    return str(path)


@dataclass(frozen=True)
class SshFailure:
    """Why ssh did not get there: what that means, what helps, and what ssh said."""

    text: str
    remedy: str
    said: str = ""

    @property
    def message(self) -> str:
        """Return what it means, and what ssh said where that says more."""
        return f"{self.text}: {self.said}" if self.said else self.text


DENIED = "it refuses this user and key"
# What ssh says, what that means, and what helps; {ssh} is the command to try, {host} where ssh connects to.
_SAYINGS = (
    (
        "has changed and you have requested strict checking",
        "its host key has changed",
        "if it was reinstalled: `ssh-keygen -R {host}`, then accept its new key; else somebody may be in between",
    ),
    (
        "Host key verification failed",
        "its host key is not known",
        "compare the fingerprint that `{ssh}` shows with the one on its console, and accept it",
    ),
    ("Permission denied", DENIED, "is a key that needs no typing in your agent (`ssh-add -l`)? Try `{ssh}`"),
    ("Could not resolve", "its name cannot be resolved", "correct it (in an inventory: ansible_host, or the name)"),
    ("Connection refused", "nothing listens for ssh there", "is sshd running, and is the port right? Try `{ssh}`"),
    ("timed out", "it does not respond", "is it on, and does a firewall let ssh through? Try `{ssh}`"),
    ("did not end within", "it does not respond in time", "try `{ssh}`"),
    ("No route to host", "there is no route to it", "is it on? Try `{ssh}`"),
    ("not responding", "it does not respond any more", "is it on? Try `{ssh}`"),
)


def unreached(failed: CommandFailed, host: Host) -> SshFailure | None:
    """Return why a command did not get to a host; None where it did, and failed there."""
    if host.connection == "local" or failed.code not in (0, FAILED):
        return None
    found = explain(failed.message, host)
    return found if found.said or failed.code == FAILED else None


def explain(said: str, host: Host) -> SshFailure:
    """Return what the last words of an ssh that failed mean."""
    parts, ssh = said.split(" / "), by_hand(host)
    for saying, text, remedy in _SAYINGS:
        if found := [part for part in parts if saying in part]:
            return SshFailure(text, remedy.format(ssh=ssh, host=host.ssh_host), found[-1].removeprefix("ssh: "))
    return SshFailure(said, f"try `{ssh}`")
