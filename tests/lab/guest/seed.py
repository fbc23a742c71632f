"""What the guest needs of cloud-init: the data source NoCloud, as far as playbooks `qemu` and Incus use it."""

import base64
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

SEED = Path("/seed")


def read(name: str) -> Any:
    if not (SEED / name).exists():
        return {}
    lines = (SEED / name).read_text().splitlines()
    return json.loads("\n".join(line for line in lines if not line.startswith("#")))


def write(path: str, content: str, mode: int) -> None:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    file.chmod(mode)


def network(lan: dict[str, Any]) -> None:
    subprocess.run(["ip", "link", "set", "eth0", "up"], check=True)
    if "addresses" not in lan:
        script = '#!/bin/sh\n[ "$1" != bound ] || ip addr add "$ip/24" dev eth0\n'
        write("/run/dhcp", script, 0o755)
        subprocess.run(["udhcpc", "-i", "eth0", "-q", "-n", "-s", "/run/dhcp", "-t", "20", "-T", "1"])
        return
    for address in lan["addresses"]:
        subprocess.run(["ip", "addr", "add", address, "dev", "eth0"], check=True)
    for route in lan["routes"]:
        subprocess.run(
            ["ip", "route", "add", route["to"].replace("0.0.0.0/0", "default"), "via", route["via"]], check=True
        )


user = {**read("vendor-data"), **read("user-data")}
meta = (SEED / "meta-data").read_text()
name = re.search(r"local-hostname\"?: *\"?([a-z0-9-]+)", meta)
subprocess.run(["hostname", name[1] if name else "guest"], check=True)
if "hostname" in user:
    write("/etc/hostname", user["hostname"], 0o644)
for command in user.get("bootcmd", ()):
    subprocess.run(command, check=True)
for file in user["write_files"]:
    write(file["path"], base64.b64decode(file["content"]).decode(), int(file["permissions"], 8))
if "ssh_keys" in user:
    write("/root/.ssh/authorized_keys", "\n".join(user["ssh_authorized_keys"]) + "\n", 0o600)
    Path("/root/.ssh").chmod(0o700)
    write("/etc/ssh/ssh_host_ed25519_key", user["ssh_keys"]["ed25519_private"], 0o600)
network(read("network-config").get("ethernets", {}).get("lan", {}))
os.sync()
