"""An Incus of the tests' own, with a storage pool and images of the test app; it needs root and no way outside."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from deployer.core.clock import SystemClock
from deployer.core.errors import DriverFailed
from deployer.drivers.runtime.incus import virtual
from deployer.drivers.runtime.incus.api import Incus
from tests.lab import guest, image
from tests.waiting import within

DAEMON = "/usr/libexec/incus/incusd"
SHELL = ("sh", "ip", "cat", "dpkg", "kill", "sleep")
# What makes it a system: its own way to stop, a loopback that is up, and the app as its one service, which is started
# again once a package has brought settings for it.
INIT = """#!/bin/sh
trap 'kill -TERM $app; wait $app; exit 0' PWR TERM
ip link set lo up
export VERSION=${{VERSION:-{version}}}
export {settings}
while
  [ ! -e /etc/app.env ] || . /etc/app.env
  /app & app=$!
  echo $app >/run/app.pid
  wait $app
  code=$?
  [ -e /etc/app.env ]
do :; done
exit $code
"""
METADATA = "architecture: x86_64\ncreation_date: 1\nproperties: {{description: {alias}}}\n"
MACHINES = "machines"  # the project of virtual machines


@contextmanager
def incusd() -> Iterator[Mapping[str, str]]:
    """Run a daemon; yield the variables by which its clients find it."""
    folder = Path(tempfile.mkdtemp(prefix="dpi", dir="/tmp"))
    environ = {**os.environ, "INCUS_DIR": str(folder), "INCUS_SOCKET": str(folder / "unix.socket")}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([DAEMON, "--group", "root"], env=environ, stdout=log, stderr=log)
    api = Incus(SystemClock(), environ)
    try:
        within(60).until(lambda: _answers(api), f"Incus answers: {folder / 'log'}")
        command(environ, "storage", "create", "default", "dir")
        command(environ, "profile", "device", "add", "default", "root", "disk", "path=/", "pool=default")
        yield environ
    finally:
        for each in json.loads(command(environ, "list", "--all-projects", "-f", "json")):
            command(environ, "delete", "--force", each["name"], "--project", each["project"])
        process.terminate()
        process.wait(60)
        _unmounted(folder)
        shutil.rmtree(folder)


def command(environ: Mapping[str, str], *words: str) -> str:
    done = subprocess.run(["incus", *words], env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"incus {' '.join(words)}: {done.stderr}"
    return done.stdout


def build(environ: Mapping[str, str], alias: str, version: str, env: Mapping[str, str] | None = None) -> None:
    """Import the test app as a system container with this behaviour; the same version is the same image."""
    settings = " ".join(f"{name}={value}" for name, value in {"BUILT": version, **(env or {})}.items())
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "image.tar.gz"
        with _archive(file) as archive:
            _write(archive, METADATA.format(alias=alias), INIT.format(version=version, settings=settings))
        _imported(environ, alias, file)


def lacking_for_machines(environ: Mapping[str, str]) -> str:
    """Return what Incus says this host lacks to run virtual machines; "" where it runs them."""
    return virtual.missing(Incus(SystemClock(), environ))


@contextmanager
def machines(environ: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """Make a project in which virtual machines of the guest start, on a network with DHCP; yield its variables.

    They are started by the guest's kernel: its disk has no boot loader.
    """
    files, network = guest.made(), f"dpi{os.getpid()}"
    cmdline = f"console=ttyS0 {(files / 'cmdline').read_text().strip()}"
    kernel = f"raw.qemu=-kernel {files}/kernel -initrd {files}/initrd -append '{cmdline}'"
    inside = {**environ, "INCUS_PROJECT": MACHINES}
    command(environ, "network", "create", network, "ipv4.nat=false", "ipv6.address=none")
    try:
        command(environ, "project", "create", MACHINES)
        command(inside, "profile", "set", "default", kernel)
        disk = ("root", "disk", "path=/", "pool=default", "io.bus=virtio-blk")
        command(inside, "profile", "device", "add", "default", *disk)
        command(inside, "profile", "device", "add", "default", "eth0", "nic", f"network={network}", "name=eth0")
        yield inside
    finally:
        for each in json.loads(command(inside, "list", "-f", "json")):
            command(inside, "delete", "--force", each["name"])
        for each in json.loads(command(inside, "image", "list", "-f", "json")):
            command(inside, "image", "delete", each["fingerprint"])
        command(environ, "project", "delete", MACHINES)
        command(environ, "network", "delete", network)


def build_machine(environ: Mapping[str, str], alias: str, disk: Path) -> None:
    """Import a disk as the image of a virtual machine; the same alias is the same image."""
    with tempfile.TemporaryDirectory() as folder:
        metadata = Path(folder) / "metadata.tar.gz"
        with _archive(metadata) as archive:
            _add(archive, "metadata.yaml", METADATA.format(alias=alias).encode(), 0o644)
        _imported(environ, alias, metadata, disk)


@contextmanager
def _archive(file: Path) -> Iterator[tarfile.TarFile]:
    with (
        file.open("wb") as raw,
        gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        yield archive


def _imported(environ: Mapping[str, str], alias: str, *files: Path) -> None:
    words = ["incus", "image", "import", *map(str, files), "--alias", alias]
    done = subprocess.run(words, env=environ, capture_output=True, timeout=60)
    assert done.returncode == 0 or b"already exists" in done.stderr, done.stderr.decode()


def _write(archive: tarfile.TarFile, metadata: str, init: str) -> None:
    program, busybox = image.binary(), Path(shutil.which("busybox") or "/bin/busybox")
    assert program is not None, "gcc is not installed"
    for name in ("", "bin", "sbin", "etc", "proc", "sys", "dev", "tmp", "run", "root", "var", "var/lib/dpkg/info"):
        archive.addfile(_entry(f"rootfs/{name}".rstrip("/"), tarfile.DIRTYPE, 0o755))
    for name in SHELL:
        link = _entry(f"rootfs/bin/{name}", tarfile.SYMTYPE, 0o777)
        link.linkname = "busybox"
        archive.addfile(link)
    files = {"bin/busybox": busybox.read_bytes(), "app": program.read_bytes()}
    files |= {"sbin/init": init.encode()}
    for name, data in files.items():
        _add(archive, f"rootfs/{name}", data, 0o755)
    for name in ("status", "available"):
        _add(archive, f"rootfs/var/lib/dpkg/{name}", b"", 0o644)
    _add(archive, "metadata.yaml", metadata.encode(), 0o644)


def _add(archive: tarfile.TarFile, name: str, data: bytes, mode: int) -> None:
    entry = _entry(name, tarfile.REGTYPE, mode)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))


def _entry(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = kind, mode
    return entry


def _answers(api: Incus) -> bool:
    try:
        return bool(api.get("Incus", "/1.0"))
    except DriverFailed:
        return False


def _unmounted(folder: Path) -> None:
    """Take away what the daemon has mounted in its folder."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for place in sorted((m for m in mounts if m.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "-l", place], check=True, timeout=60)
