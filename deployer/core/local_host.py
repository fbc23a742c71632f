"""Where we are and who acts: the state folder, the person, the host. Imports nothing that takes time."""

from __future__ import annotations

import os
import pwd

LONGEST = 100  # characters of a name


def whoami() -> str:
    """Name the person and host that act: `ann@build-3`. What the environment says is one line of text, cut short."""
    names = (os.environ.get(name) for name in ("DEPLOYER_ACTOR", "SUDO_USER", "GITHUB_ACTOR", "LOGNAME", "USER"))
    name = next(filter(None, names), "") or _account()
    return f"{_line(name)}@{host_name()}"


def host_name() -> str:
    """Name the host of who acts: this one, unless it is done for somebody at another (`deploy --on`)."""
    return _line(os.environ.get("DEPLOYER_HOSTNAME", "")) or os.uname().nodename


def _line(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:LONGEST])


def _account() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def state_folder() -> str:
    """Return the path of the state folder: DEPLOYER_STATE, else the host's for root, else the user's."""
    given = os.environ.get("DEPLOYER_STATE")
    if given:
        return given
    if os.geteuid() == 0:
        return "/var/lib/deployer"
    xdg = os.environ.get("XDG_STATE_HOME", "")
    # a relative one is to be ignored: https://specifications.freedesktop.org/basedir-spec/
    return f"{xdg if xdg.startswith('/') else os.path.expanduser('~/.local/state')}/deployer"  # noqa: PTH111 - pathlib costs
