"""`address.py FOLDER ADDRESS_OF_BRIDGE/SIZE`: make the folder of a container, with an address that no other one has.

They are given out from the end of the network: a DHCP server begins at its other end.
"""

import fcntl
import ipaddress
import re
import sys
from pathlib import Path

CONFIGURED = re.compile(r"^\s*lxc\.net\.\d+\.ipv4\.address\s*=\s*([0-9.]+)", re.MULTILINE)

folder, bridge = Path(sys.argv[1]), ipaddress.IPv4Interface(sys.argv[2])
with Path("/run/lock/deployer-lxc").open("w") as lock:  # others may be made at the same time
    fcntl.flock(lock, fcntl.LOCK_EX)
    place = folder / "address"
    if place.exists():
        print(place.read_text())
        sys.exit()
    given = {found.read_text() for found in folder.parent.glob("*/address")}
    others = {a for found in folder.parent.glob("*/config") for a in CONFIGURED.findall(found.read_text())}
    last, first = int(bridge.network.broadcast_address) - 1, int(bridge.network.network_address) + 1
    every = (str(ipaddress.IPv4Address(number)) for number in range(last, first - 1, -1))
    address = next((a for a in every if a not in given | others | {str(bridge.ip)}), None)
    if address is None:
        sys.exit(f"no address is free in {bridge.network}")
    (folder / "rootfs").mkdir(parents=True, exist_ok=True)
    folder.chmod(0o770)
    place.write_text(address)
    print(address, "new")
