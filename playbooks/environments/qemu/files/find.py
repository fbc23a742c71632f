"""Wait until a virtual machine answers on its bridge, and give its address.

`find.py UNIT BRIDGE MAC ADDRESS SECONDS`, ADDRESS `-` for one that DHCP gives: then it is that by which the machine is
known on the bridge, or that in the leases of a dnsmasq of this host.
"""

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

LEASES = ("/var/lib/misc/dnsmasq*.leases", "/var/lib/dnsmasq/*.leases", "/var/lib/libvirt/dnsmasq/*.leases")
ENVIRON = {**os.environ, "PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"}
DISCARD = 9  # a port that need not be open: to ask for the machine behind an address is enough


def main() -> None:
    """Print the address, or end with 1 and why there is none."""
    unit, bridge, mac, wanted, seconds = *sys.argv[1:5], float(sys.argv[5])
    end = time.monotonic() + seconds
    subprocess.run(
        ["ip", "neighbour", "del", wanted, "dev", bridge], capture_output=True, env=ENVIRON
    )  # who had it before
    while True:
        if said("systemctl", "show", "--property=SubState", unit).strip() != "SubState=running":
            give_up(f"{unit} has ended")
        if wanted != "-":
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
                asking.sendto(b"", (wanted, DISCARD))
        around = neighbours(bridge)
        if wanted in around and around[wanted] != mac:
            give_up(f"{wanted} belongs to another machine, {around[wanted]}; leave it out of what DHCP gives")
        found = wanted if wanted in around else next((a for a, m in around.items() if m == mac and wanted == "-"), "")
        if found or (wanted == "-" and (found := leased(mac))):
            print(found)
            return
        if time.monotonic() >= end:
            what = "got no address from DHCP" if wanted == "-" else f"did not answer on {wanted}"
            give_up(f"the machine {what} within {seconds:g} s on {bridge}")
        time.sleep(0.2)


def give_up(why: str) -> None:
    """End, saying why."""
    print(why)
    sys.exit(1)


def neighbours(bridge: str) -> dict[str, str]:
    """Return the addresses that are known on a bridge, each with whose it is."""
    known = json.loads(said("ip", "-json", "-4", "neighbour", "show", "dev", bridge) or "[]")
    return {each["dst"]: each["lladdr"] for each in known if "lladdr" in each and "FAILED" not in each["state"]}


def leased(mac: str) -> str:
    """Return the address in the newest lease of a machine; "" without one."""
    lines = (line.split() for pattern in LEASES for file in Path("/").glob(pattern[1:]) for line in file.open())
    mine = [words for words in lines if len(words) > 2 and words[1] == mac and re.fullmatch(r"[0-9.]+", words[2])]
    return max(mine, key=lambda words: int(words[0]))[2] if mine else ""


def said(*command: str) -> str:
    """Return what a command prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True, env=ENVIRON).stdout


main()
