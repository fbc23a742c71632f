"""What a host says of itself; sent to it as text and run there by its own Python, 3.7 or newer. Prints JSON."""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
import subprocess
import time

_SECONDS = 5
_ENGINE, _MASTER = "/var/run/docker.sock", "/run/haproxy-master.sock"


def ask(path: str, words: bytes, last: bool = False) -> bytes:
    """Return what the owner of a Unix socket answers; `last` says that no more is asked. Raises OSError."""
    answer = b""
    with socket.socket(socket.AF_UNIX) as to:
        to.settimeout(_SECONDS)
        to.connect(path)
        to.sendall(words)
        if last:
            to.shutdown(socket.SHUT_WR)
        while True:
            more = to.recv(65536)
            if not more:
                return answer
            answer += more


def engine() -> dict[str, str]:
    """Return the version of the Docker engine, what it is in a Swarm and its runtimes, or `error`.

    Of a manager also how often nodes say that they are there, `heartbeat`, in seconds.
    """
    try:
        answer = ask(_ENGINE, b"GET /version HTTP/1.0\r\n\r\n")
        version = str(json.loads(answer.partition(b"\r\n\r\n")[2])["Version"])
        info = json.loads(ask(_ENGINE, b"GET /info HTTP/1.0\r\n\r\n").partition(b"\r\n\r\n")[2])
    except (OSError, ValueError, KeyError) as error:
        return {"error": type(error).__name__, "text": str(error)}
    swarm = info.get("Swarm") or {}
    state = str(swarm.get("LocalNodeState") or "inactive")
    role = "manager" if swarm.get("ControlAvailable") else "worker"
    asked = ((swarm.get("Cluster") or {}).get("Spec") or {}).get("Dispatcher") or {}
    return {
        "version": version,
        "swarm": role if state == "active" else "" if state == "inactive" else state,
        "heartbeat": str(asked.get("HeartbeatPeriod", 0) / 1e9),
        "runtimes": " ".join(info.get("Runtimes") or {}),
    }


def proxy() -> dict[str, str]:
    """Return the version of HAProxy and what its master socket says, or `error`."""
    program = shutil.which("haproxy", path="/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin")
    if program is None:
        return {"error": "FileNotFoundError", "text": "not installed"}
    try:
        said = subprocess.run(
            [program, "-v"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        return {"error": type(error).__name__, "text": str(error)}
    found = {"version": said.stdout.decode(errors="replace").split("version ")[-1].split()[0]}
    found["deployer"] = deployer()
    try:
        ask(_MASTER, b"show proc\n", last=True)
    except OSError as error:
        found["master"] = type(error).__name__
    return found


def deployer() -> str:
    """Return the version of the `deploy` that a command of ssh finds; empty where there is none."""
    try:
        said = subprocess.run(["deploy", "--version"], stdout=subprocess.PIPE, timeout=_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return said.stdout.decode(errors="replace").split()[-1]


def system() -> str:
    """Name the distribution."""
    try:
        with open("/etc/os-release", encoding="utf-8") as file:  # noqa: PTH123 - as short as it can be said
            fields = dict(line.rstrip().split("=", 1) for line in file if "=" in line)
    except OSError:
        return platform.system()
    return fields.get("PRETTY_NAME", "").strip('"')


def disk() -> dict[str, int]:
    """Return bytes that are free where the engine keeps its data, and how many there are."""
    place = next(path for path in ("/var/lib/docker", "/var/lib", "/") if os.path.isdir(path))  # noqa: PTH112
    there = os.statvfs(place)
    return {"free": there.f_bavail * there.f_frsize, "size": there.f_blocks * there.f_frsize}


def main() -> None:
    """Print everything."""
    told = {
        "python": platform.python_version(),
        "system": system(),
        "engine": engine(),
        "proxy": proxy(),
        "disk": disk(),
        "reboot": os.path.exists("/var/run/reboot-required"),  # noqa: PTH110
        "now": time.time(),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
