"""Print what this host lacks to run a virtual machine, all of it, and change nothing; else print the bridge's address.

`check.py FOLDER IMAGE BYTES_OF_IMAGE BRIDGE MEMORY ACCEL`
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

FIRST_WRITES = 256 << 20  # bytes that a machine may write at once, besides its image
MIB = 1 << 20
PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
PROGRAMS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "genisoimage": "genisoimage",
    "ssh-keygen": "openssh-client",
    "ip": "iproute2",
}


def main() -> None:
    """Print what is lacking, and end with 1; else the address."""
    folder, image, bridge, accel = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[4], sys.argv[6]
    weight, memory = int(sys.argv[3]), int(sys.argv[5])
    lacking = [
        f"{p} is not installed (apt-get install {PROGRAMS[p]})" for p in PROGRAMS if not shutil.which(p, path=PATH)
    ]
    address = ""
    if not Path(f"/sys/class/net/{bridge}/bridge").is_dir():
        lacking.append(f"there is no bridge {bridge}; make it, or name another by qemu_bridge")
    elif shutil.which("ip", path=PATH) and not (address := address_of(bridge)):
        lacking.append(f"bridge {bridge} has no IPv4 address")
    if not (folder / "image").exists():  # what is there has its place already
        lacking += room(folder, weight * (not image.exists()) + FIRST_WRITES, memory)
    if accel == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        lacking.append("/dev/kvm cannot be opened; qemu_accel: tcg runs it without, slower")
    print("\n".join(lacking) or address)
    sys.exit(bool(lacking))


def address_of(bridge: str) -> str:
    """Return the first address of a bridge, with the size of its network."""
    said = subprocess.run(
        ["ip", "-json", "-4", "address", "show", "dev", bridge],
        capture_output=True,
        check=True,
        env={**os.environ, "PATH": PATH},
    )
    found = [a for link in json.loads(said.stdout or "[]") for a in link.get("addr_info", [])]
    return f"{found[0]['local']}/{found[0]['prefixlen']}" if found else ""


def room(folder: Path, disk: int, memory: int) -> list[str]:
    """Return what is too little for one more machine."""
    existing = next(parent for parent in folder.parents if parent.exists())
    free, lacking = shutil.disk_usage(existing).free, []
    if free < disk:
        lacking.append(f"{existing} has {free // MIB} MiB free, and the machine needs {disk // MIB} MiB to begin with")
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    available = int(lines["MemAvailable"].split()[0]) << 10
    if available < memory:
        lacking.append(f"{available // MIB} MiB of memory are available, and limits.memory is {memory // MIB} MiB")
    return lacking


main()
