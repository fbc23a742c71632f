"""A virtual machine that starts in seconds, also without KVM: the test app on a small disk, with ssh and Python.

`made()` gives it as an image for lifecycle playbooks `qemu`, and what one for Incus is made of: a kernel of Debian's,
an initial memory with the modules that it needs, and a disk whose root has busybox, this host's Python and sshd, and
the test app.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.lab.image import LEFT_OUT, binary
from tests.lab.machines.programs import call

HERE = Path(__file__).parent
KERNEL = "linux-image-cloud-amd64"
MODULES = (
    "net/core/failover",
    "drivers/net/net_failover",
    "drivers/net/virtio_net",
    "drivers/block/virtio_blk",
    "drivers/acpi/button",
    "drivers/input/evdev",
    "drivers/cdrom/cdrom",
    "drivers/scsi/scsi_common",
    "drivers/scsi/scsi_mod",
    "drivers/scsi/virtio_scsi",
    "drivers/scsi/sr_mod",
    "fs/isofs/isofs",
)
PYTHON = Path(os.path.realpath("/usr/bin/python3"))
SSHD = ("/usr/sbin/sshd", "/usr/lib/openssh/sshd-session", "/usr/lib/openssh/sshd-auth", "/usr/lib/openssh/sftp-server")
DISK_BYTES = 192 << 20
FETCH_SECONDS = 300
CMDLINE = "quiet reboot=t mitigations=off no_timer_check tsc=reliable random.trust_cpu=on\n"
ACCOUNTS = {
    "passwd": "root:x:0:0:root:/root:/bin/sh\n"
    "sshd:x:100:65534::/run/sshd:/bin/false\nnobody:x:65534:65534::/:/bin/false\n",
    "group": "root:x:0:\nnogroup:x:65534:\n",
    "shadow": "root:*:19000:0:99999:7:::\n",
    "ssh/sshd_config": "UsePAM no\nUseDNS no\nPermitRootLogin prohibit-password\n"
    "Subsystem sftp /usr/lib/openssh/sftp-server\n",
}


def made() -> Path:
    """Return the folder of the image, made once for all test runs of this user."""
    key = hashlib.sha256(
        b"".join(f.read_bytes() for f in sorted(HERE.glob("*.*"))) + str(binary()).encode()
    ).hexdigest()
    target = Path(tempfile.gettempdir()) / f"deployer-lab-{os.getuid()}" / f"guest-{key[:16]}"
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            image = Path(folder) / "image"
            image.mkdir()
            _make(image, Path(folder))
            _place(image, target)
    return target


def _place(image: Path, target: Path) -> None:
    try:
        image.rename(target)
    except OSError:
        if not target.exists():  # several test runs may do this at the same time
            raise


def _make(image: Path, scratch: Path) -> None:
    unpacked = _kernel(scratch)
    (vmlinuz,) = (unpacked / "boot").glob("vmlinuz-*")
    shutil.copy(vmlinuz, image / "kernel")
    _initrd(image / "initrd", unpacked, scratch / "memory")
    _disk(image / "disk", scratch / "root")
    (image / "cmdline").write_text(CMDLINE)


def _kernel(scratch: Path) -> Path:
    """Fetch Debian's kernel for virtual machines by the test machine's own apt, without installing it."""
    if not any(Path("/var/lib/apt/lists").glob("*Packages*")):
        _apt(scratch, "apt-get", "-q", "update")
    said = _apt(scratch, "apt-cache", "depends", "--important", KERNEL).split()
    name = next(word for word in said if word.startswith("linux-image-") and word != KERNEL)
    _apt(scratch, "apt-get", "-q", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3", "download", name)
    (package,) = scratch.glob("*.deb")
    call("dpkg-deb", "-x", package, scratch / "kernel")
    return scratch / "kernel"


def _apt(folder: Path, *command: str) -> str:
    return call(*command, folder=folder, seconds=FETCH_SECONDS).stdout


def _initrd(target: Path, unpacked: Path, root: Path) -> None:
    (modules,) = (unpacked / "usr/lib/modules").glob("*")
    for folder in ("bin", "modules"):
        (root / folder).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin")
    for name in MODULES:
        packed = (modules / "kernel" / name).with_suffix(".ko.xz")
        (root / "modules" / packed.stem).write_bytes(lzma.decompress(packed.read_bytes()))
    shutil.copy(HERE / "boot.sh", root / "init")
    (root / "init").chmod(0o755)
    names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    command = ["cpio", "--create", "--format=newc", "--owner=0:0", "--quiet"]
    target.write_bytes(subprocess.run(command, input=names.encode(), cwd=root, capture_output=True, check=True).stdout)


def _disk(target: Path, root: Path) -> None:
    for name in ("bin", "sbin", "etc/ssh", "proc", "sys", "dev", "run", "tmp", "root", "seed", "var/lib/dpkg/info"):
        (root / name).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    shutil.copy("/bin/busybox", root / "bin")
    for applet in call("/bin/busybox", "--list").stdout.split():
        (root / "bin" / applet).symlink_to("busybox") if applet != "busybox" else None
    for name, text in ACCOUNTS.items():
        (root / "etc" / name).write_text(text)
    for name in ("status", "available"):
        (root / "var/lib/dpkg" / name).touch()
    app = binary()
    assert app is not None
    shutil.copy(app, root / "app")
    for source, place in (("init.sh", "init"), ("seed.py", "seed.py")):
        shutil.copy(HERE / source, root / "sbin" / place)
        (root / "sbin" / place).chmod(0o755)
    _programs(root)
    raw = root.with_suffix(".raw")
    with raw.open("wb") as file:
        file.truncate(DISK_BYTES)
    call("mkfs.ext4", "-q", "-F", "-m0", "-O", "^has_journal", "-E", "root_owner=0:0", "-d", root, raw)
    call("qemu-img", "convert", "-O", "qcow2", raw, target)


def _programs(root: Path) -> None:
    """Copy Python and sshd with the libraries that they are linked to; compiled modules, too: they save seconds."""
    library = Path("/usr/lib") / PYTHON.name
    left_out = shutil.ignore_patterns(*(LEFT_OUT - {"__pycache__"}), "*.a")
    shutil.copytree(library, root / str(library)[1:], ignore=left_out, symlinks=True, ignore_dangling_symlinks=True)
    (root / "usr/bin").mkdir(parents=True)
    shutil.copy(PYTHON, root / "usr/bin/python3")
    programs = [root / "usr/bin/python3", *(root / str(library)[1:]).rglob("*.so")]
    for program in filter(os.path.exists, SSHD):
        place = root / program[1:]
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(program, place)
        programs.append(place)
    for file in programs:
        for word in call("ldd", file, check=False).stdout.split():
            place = root / word[1:]
            if word.startswith("/") and not place.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(os.path.realpath(word), place)
