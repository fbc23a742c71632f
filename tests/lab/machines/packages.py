"""Packages for machines without the Internet: taken off one of them, fetched again, served as an apt repository."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.lab.machines.machine import Machine
from tests.lab.machines.programs import call

_SECONDS = 300
PREPARED = ("docker.io", "docker-cli", "containerd", "runc", "haproxy", "nftables")  # what setup.yml is to bring


def take_off(machine: Machine) -> list[str]:
    """Take off a machine what setup.yml is to bring, with what only that needs; return the names of the packages."""
    before = _installed(machine)
    gone = [name for name in PREPARED if name in before]
    machine.run("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "purge", "-q", "-y", "--auto-remove", *gone)
    machine.run("rm", "-rf", "/etc/docker", "/etc/haproxy")
    return sorted(before - _installed(machine))


def _installed(machine: Machine) -> set[str]:
    said = machine.run("dpkg-query", "-W", "-f", "${db:Status-Abbrev} ${Package}\n").stdout
    return {line.split()[1] for line in said.splitlines() if line.startswith("ii")}


def fetch(names: Sequence[str], folder: Path) -> None:
    """Fetch packages by the test machine's own apt, and index them as a repository."""
    folder.mkdir()
    if not any(Path("/var/lib/apt/lists").glob("*Packages*")):
        subprocess.run(["apt-get", "-q", "update"], check=True, capture_output=True, timeout=_SECONDS)
    fetched = subprocess.run(
        ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3", "download", *names],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
    )
    if fetched.returncode:
        raise RuntimeError(f"apt-get download: {fetched.stderr.splitlines()[0]}")
    index(folder)


def offer(folder: Path, name: str, version: str, *, asks_for_reboot: str = "") -> None:
    """Add an empty package to a repository; where it is installed on the machine of that name, it asks for a reboot."""
    root = folder / f"{name}-{version}"
    (root / "DEBIAN").mkdir(parents=True)
    fields = {"Package": name, "Version": version, "Architecture": "all", "Maintainer": "lab", "Description": "lab"}
    (root / "DEBIAN/control").write_text("".join(f"{key}: {value}\n" for key, value in fields.items()))
    script = root / "DEBIAN/postinst"
    script.write_text(f'#!/bin/sh\n[ "$(hostname)" != "{asks_for_reboot}" ] || touch /var/run/reboot-required\n')
    script.chmod(0o755)
    call("dpkg-deb", "--build", "--root-owner-group", root, folder / f"{name}_{version}.deb")
    shutil.rmtree(root)
    index(folder)


def index(folder: Path) -> None:
    """Write the index of a repository."""
    entries = []
    for file in sorted(folder.glob("*.deb")):
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        control = call("dpkg-deb", "-f", file).stdout.rstrip()
        entries.append(f"{control}\nFilename: ./{file.name}\nSize: {file.stat().st_size}\nSHA256: {digest}\n")
    (folder / "Packages").write_text("\n".join(entries))


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def served(folder: Path, address: str) -> Iterator[str]:
    """Serve a repository at an address; yield the line for a machine's sources.list."""
    with ThreadingHTTPServer((address, 0), partial(_Quiet, directory=os.fspath(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"deb [trusted=yes] http://{address}:{server.server_address[1]} ./\n"
        finally:
            server.shutdown()
            thread.join(10)


def use(machine: Machine, line: str) -> None:
    """Let a machine know this repository and no other."""
    machine.run("sh", "-c", "rm -rf /etc/apt/sources.list.d/* /etc/apt/sources.list /var/lib/apt/lists/*")
    machine.run("sh", "-c", f"printf '%s' '{line}' >/etc/apt/sources.list")
