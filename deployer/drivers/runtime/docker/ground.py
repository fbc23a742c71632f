"""The ground on which guests stand: what a host itself does for them, by a script that is run there as root.

An engine can neither weigh the group in which containers lie nor filter what they reach, so this goes by the shell of
its host: of this one, or by ssh.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from deployer.core import commands
from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import DriverFailed
from deployer.core.host import Host
from deployer.transport import ssh
from deployer.transport.timeouts import QUICK

SECONDS = 20.0  # for one verb of the script
FROZEN = 4  # how the script ends where a guest is not started as all are frozen
_MOST = 1 << 16  # bytes of an answer
_SCRIPT = Path(__file__).with_name("ground.sh")
_AS_ROOT = '[ "$(id -u)" = 0 ] || exec sudo -n sh -s -- "$@"; exec sh -s -- "$@"'

Shell = Callable[[Sequence[str]], list[str]]  # from words to a command line that has a shell of the host do them


def of_this_host(words: Sequence[str]) -> list[str]:
    """Return a command line for this host."""
    return list(words)


def by_ssh(host: Host) -> Shell:
    """Return what makes command lines for another host."""
    return lambda words: [*ssh.line(host, QUICK), shlex.join(words)]


class HostGround:
    """Runs the verbs of the script on one host; `where` names it in errors."""

    def __init__(self, shell: Shell = of_this_host, where: str = "this host") -> None:
        self._shell, self._where = shell, where

    def do(self, *words: str, deadline: Deadline | None = None) -> list[str]:
        """Run a verb, and return the lines that it printed. Raise DriverFailed with what it said."""
        limit = deadline or Deadline.after(SystemClock(), SECONDS)
        line = self._shell(["sh", "-c", _AS_ROOT, "sh", *words])
        try:
            printed = commands.run(line, Path("/"), os.environ, limit.left, most=_MOST, stdin=_SCRIPT.read_bytes())
        except commands.CommandFailed as failed:
            if failed.code == FROZEN:
                raise DriverFailed(
                    f"{self._where} starts no guest now: {failed.message}",
                    "it goes by itself when its owner has not waited for a while: docs/guests.md",
                ) from failed
            raise DriverFailed(
                f"{self._where} cannot keep guests ({words[0]}): {failed.message}",
                "it needs root (or sudo without a password), nft, and cgroups that it may change (docs/guests.md)",
            ) from failed
        return printed.decode("utf-8", "replace").split("\n")[:-1]
