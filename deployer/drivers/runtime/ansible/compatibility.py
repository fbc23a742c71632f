"""Whether what is deployed suits the verbs, before anything changes."""

from __future__ import annotations

import hashlib
import os
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from deployer.core.errors import Refused
from deployer.drivers.ports import PIN

if TYPE_CHECKING:
    from deployer.manifest.models import Manifest


QCOW2, BOOT_SECTOR = b"QFI\xfb", b"\x55\xaa"
DISK = "disk"  # of a virtual machine, where its image is a folder


def check(manifest: Manifest, source: Path, digest: str, *, by_name: bool) -> None:
    """Raise Refused when there is nothing to deploy, or not what the verbs need, or not the file with that digest.

    Only where it is `by_name` may an image be no file: its verbs know what it means.
    """
    if not source.exists():
        if by_name and not source.is_absolute():
            return
        raise Refused(
            f"image: there is no file or directory {source}",
            f"lifecycle playbooks {manifest.verbs} deploy what is here; check `image:` and `version:`",
        )
    if digest:
        _digest(source, digest)
    if manifest.verbs == "systemd":
        _program(manifest, source)
    if manifest.verbs == "qemu":
        _machine(source)
    if manifest.verbs == "lxc" and not (source.is_file() and tarfile.is_tarfile(source)):
        raise Refused(
            f"image: {source} is not a tar archive",
            "lifecycle playbooks lxc need the root file system of a container as one",
        )


def _program(manifest: Manifest, source: Path) -> None:
    """A program among the files must be there; one that is installed on the host is looked for by systemd."""
    name = (manifest.command or ("",))[0]
    if "/" not in name or name.startswith("/"):
        return
    place = (source if source.is_dir() else source.parent) / name
    if not place.is_file():
        raise Refused(f"command: {name} is not among the files of {source}", f"did you build it? {place} is missing")
    if not os.access(place, os.X_OK):
        raise Refused(f"command: {name} is not executable", f"chmod +x {place}")


def _digest(source: Path, digest: str) -> None:
    if not source.is_file():
        raise Refused(f"image: {source} is not one file, and only a file can be pinned", f"remove `{PIN}…`")
    with source.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != digest:
        raise Refused(
            f"image: {source} has sha256 {found}, and {digest} is pinned",
            "fetch it again, or pin what it is to be now",
        )


def _machine(source: Path) -> None:
    """A virtual machine needs a disk that starts by itself, or a kernel and maybe a disk."""
    if source.is_dir():
        if not (source / "kernel").is_file():
            raise Refused(
                f"image: {source} has no file kernel",
                f"lifecycle playbooks qemu need a disk image, or a folder with kernel, initrd and {DISK}",
            )
        if not (source / DISK).exists():
            return
    disk = source / DISK if source.is_dir() else source
    with disk.open("rb") as file:
        head = file.read(512)
    if head.startswith(QCOW2):
        if any(head[8:16]):
            raise Refused(
                f"image: {disk} is an overlay of another image, which would not come with it",
                f"make it one: qemu-img convert -O qcow2 {disk} whole.qcow2",
            )
    elif source.is_file() and head[510:] != BOOT_SECTOR:
        raise Refused(
            f"image: {disk} is neither a qcow2 image nor a raw disk with a boot sector",
            "lifecycle playbooks qemu need a disk that boots, such as Debian's genericcloud image",
        )
