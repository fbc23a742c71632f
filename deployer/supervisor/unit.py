"""The unit of systemd by which the proxy and the processes of a state folder come back after a reboot."""

from __future__ import annotations

import os
import pwd
import re
import subprocess
import sys
from pathlib import Path

import deployer
from deployer.core import files
from deployer.core.errors import DriverFailed, Refused
from deployer.supervisor.spec import FILE

UNITS = Path("/etc/systemd/system")
RUNS = Path("/run/systemd/system")  # there where systemd is the init system
TARGET = "multi-user.target"
SUPERVISED = ("proxy/process", "proxy/waker", "processes/*")  # the proxy first: it lets users wait for the others
SECONDS = 60.0  # for one call of systemctl
_TEXT = """\
# Written by `deploy init --system`: after a boot it starts again what ran before, by what the state folder says.
# Stopping this unit ends what it has started.
[Unit]
Description=Proxy and processes of {state}
Wants=network-online.target
After=network-online.target docker.service
RequiresMountsFor={state}

[Service]
Type=oneshot
RemainAfterExit=yes
User={user}
UMask=0077
Environment=PYTHONPATH={path}
ExecStart={python} -S -P -m deployer.supervisor.revive {patterns}
# One process that is out of memory must not take the others with it.
OOMPolicy=continue
TimeoutStartSec=10min

[Install]
WantedBy={target}
"""


def file_of(state: Path) -> Path:
    """Return the file of the unit of a state folder."""
    return UNITS / f"deployer{re.sub('[^A-Za-z0-9]+', '-', str(state.resolve()))}.service"


def text_of(state: Path) -> str:
    """Return the unit of a state folder; it runs as its owner. Raise Refused for paths with special letters."""
    state, owner = state.resolve(), state.stat().st_uid
    path = Path(deployer.__file__).parent.parent
    for each in (state, path, Path(sys.executable)):
        if not files.PLAIN_PATH.fullmatch(str(each)):
            raise Refused(f"{each} cannot be written into a unit", "use letters, digits and ._@+=:~-/ in paths")
    try:
        user = pwd.getpwuid(owner).pw_name
    except KeyError:
        user = str(owner)
    patterns = " ".join(f"{state}/{each}" for each in SUPERVISED)
    return _TEXT.format(state=state, user=user, path=path, python=sys.executable, patterns=patterns, target=TARGET)


def trouble(state: Path) -> str:
    """Return why what runs from a state folder would not come back after a reboot; nothing where it would.

    Without systemd nothing can be said, and without a supervised program there is nothing to bring back.
    """
    if not RUNS.is_dir() or not any(list(state.glob(f"{each}/{FILE}")) for each in SUPERVISED):
        return ""
    file = file_of(state)
    try:
        if file.read_text(encoding="utf-8") != text_of(state):
            return f"{file} is not what this version writes for {state}"
    except FileNotFoundError:
        return f"after a reboot nothing starts the proxy and the processes of {state}"
    return "" if (UNITS / f"{TARGET}.wants" / file.name).exists() else f"{file.name} is not enabled"


def install(state: Path) -> Path:
    """Write the unit of a state folder, and enable it. Raise Refused without systemd or without the rights."""
    if not RUNS.is_dir():
        raise Refused(
            "this host does not run systemd",
            f"let its init system run this at each boot: {_command(state)}",
        )
    if os.geteuid():
        raise Refused(f"only root may write {UNITS}", f"as root: deploy init --system --state {state.resolve()}")
    file, text = file_of(state), text_of(state)
    files.replace(file, text, 0o644)
    for arguments in (("daemon-reload",), ("enable", "--now", file.name)):
        _systemctl(*arguments)
    if found := trouble(state):
        raise DriverFailed(found, f"see `systemctl status {file.name}`")
    return file


def _command(state: Path) -> str:
    return next(line for line in text_of(state).splitlines() if line.startswith("ExecStart=")).partition("=")[2]


def _systemctl(*arguments: str) -> None:
    said = f"systemctl {' '.join(arguments)}"
    try:
        done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DriverFailed(f"{said}: {error}", "see `journalctl -xe`") from error
    if done.returncode:
        raise DriverFailed(f"{said}: {done.stderr.strip()}", "see `journalctl -xe`")
