"""An Incus of the tests' own, with a storage pool and images of the test app; it needs root and no network."""

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
from deployer.drivers.runtime.incus.api import Incus
from tests.lab import image
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


@contextmanager
def incusd() -> Iterator[Mapping[str, str]]:
    """Run a daemon; give the variables by which its clients find it."""
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
        for each in json.loads(command(environ, "list", "-f", "json")):
            command(environ, "delete", "--force", each["name"])
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
        with (
            file.open("wb") as raw,
            gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as packed,
            tarfile.open(fileobj=packed, mode="w") as archive,
        ):
            _write(archive, METADATA.format(alias=alias), INIT.format(version=version, settings=settings))
        done = subprocess.run(
            ["incus", "image", "import", str(file), "--alias", alias], env=environ, capture_output=True, timeout=60
        )
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
