"""`address.py FOLDER ADDRESS_OF_BRIDGE/SIZE`: make the folder of an instance, with an address that no other one has.

They are given out from the end of the network: a DHCP server begins at its other end. Containers and virtual machines
may share a bridge.
"""

import fcntl
import ipaddress
import os
import re
import sys
from pathlib import Path

CONFIGURED = re.compile(r"^\s*lxc\.net\.\d+\.ipv4\.address\s*=\s*([0-9.]+)", re.MULTILINE)
HOMES = {Path("/var/lib/lxc"), Path("/var/lib/deployer-machines")}

folder, bridge = Path(sys.argv[1]), ipaddress.IPv4Interface(sys.argv[2])
with Path("/run/lock/deployer-lxc").open("w") as lock:  # others may be made at the same time
    fcntl.flock(lock, fcntl.LOCK_EX)
    place, homes = folder / "address", HOMES | {folder.parent}
    if place.exists():
        print(place.read_text())
        sys.exit()
    given = {found.read_text() for home in homes for found in home.glob("*/address")}
    configs = (found.read_text() for home in homes for found in home.glob("*/config"))
    others = {a for text in configs for a in CONFIGURED.findall(text)}
    last, first = int(bridge.network.broadcast_address) - 1, int(bridge.network.network_address) + 1
    every = (str(ipaddress.IPv4Address(number)) for number in range(last, first - 1, -1))
    address = next((a for a in every if a not in given | others | {str(bridge.ip)}), None)
    if address is None:
        sys.exit(f"no address is free in {bridge.network}")
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o770)
    written = folder / ".address"
    with written.open("w") as file:
        file.write(address)
        file.flush()
        os.fsync(file.fileno())
    written.rename(place)  # an empty one after a power cut would be read as an address
    print(address, "new")
