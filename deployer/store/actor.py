"""Who acts, and from where: what the audit log says of this process."""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from deployer import __version__

DEPLOYER = "deployer"  # acts by itself: a gate failed, a budget was spent, a watch was passed
_USERINFO = re.compile(r"(?<=//)[^/@]*@")  # the password in a URL


@dataclass(frozen=True)
class Actor:
    """A process that changes something: `by` is who it acts for as it says, `uid` who runs it as the kernel says.

    `origin` is the terminal, the ssh connection, the job of a CI, the client of the server, or the program that
    started it.
    """

    by: str
    uid: int
    host: str
    pid: int
    origin: str
    version: str

    @classmethod
    def here(cls, by: str) -> Actor:
        """Describe this process."""
        return cls(by, os.getuid(), socket.gethostname(), os.getpid(), origin(os.environ), __version__)


def origin(environ: Mapping[str, str]) -> str:
    """Return from where this process was started: CI jobs by their address, people by terminal and ssh connection.

    Where the server started it, `DEPLOYER_ORIGIN` names the client.
    """
    return environ.get("DEPLOYER_ORIGIN") or _job(environ) or place(environ)


def place(environ: Mapping[str, str]) -> str:
    """Return from where this process was started: over ssh, at a terminal; else what its parent is."""
    places = [environ["SSH_CONNECTION"].split(" ")[0]] if environ.get("SSH_CONNECTION") else []
    places = [f"ssh from {at}" for at in places] + _terminal()
    return ", ".join(places) or _parent()


def _job(environ: Mapping[str, str]) -> str:
    """Return the address of the CI job, without a password that may be in it."""
    run = environ.get("GITHUB_RUN_ID")
    if run:
        server = environ.get("GITHUB_SERVER_URL", "https://github.com")
        job = f"{server}/{environ.get('GITHUB_REPOSITORY', '?')}/actions/runs/{run}"
    else:
        job = environ.get("CI_JOB_URL") or environ.get("BUILD_URL") or ("a job" if environ.get("CI") else "")
    return f"CI {_USERINFO.sub('', job)}" if job else ""


def _terminal() -> list[str]:
    for stream in (sys.__stdin__, sys.__stderr__, sys.__stdout__):
        with suppress(OSError, ValueError, AttributeError):  # closed, or none was given
            return [os.ttyname(stream.fileno())]  # type: ignore[union-attr]
    return []


def _parent() -> str:
    parent = os.getppid()
    try:
        name = Path(f"/proc/{parent}/comm").read_text(errors="replace").strip()
    except OSError:
        name = "?"
    return f"no terminal, started by {name} (pid {parent})"
