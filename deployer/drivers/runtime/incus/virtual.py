"""What is different with virtual machines: whether Incus can run them, what they are given, where they are reached."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from deployer.core.clock import Deadline
from deployer.core.errors import DeadlinePassed, DriverFailed, Refused
from deployer.drivers.runtime.incus.api import Incus, at

if TYPE_CHECKING:
    from deployer.manifest.models import Manifest

KIND = "virtual-machine"
SEED = "deployer-seed"  # the device with what cloud-init reads
VARIABLES = "/etc/deployer/env"
WARNING = "Instance type not operational"
LOOK = 0.5  # seconds between two looks for the address
OF_HOST = ("inet", "global")  # family and scope of an address by which it is reached
REMEDIES = (  # part of what Incus says is missing, and what to do
    ("vhost_vsock", "load the kernel module on the host (`modprobe vhost_vsock`, and a line in /etc/modules-load.d/)"),
    ("/dev/vsock", "load the kernel module on the host (`modprobe vsock`, and a line in /etc/modules-load.d/)"),
    ("/dev/kvm", "turn on virtualization in the firmware of the host, or nested virtualization of what it runs on"),
    ("QEMU", "install what Incus needs for them (`apt-get install incus`; `incus-base` runs only containers)"),
)


def missing(incus: Incus) -> str:
    """Return what Incus says it is missing to run virtual machines; "" where it runs them."""
    server = incus.of("")
    if "qemu" in (server.get("Incus", at()) or {"environment": {}})["environment"].get("driver", ""):
        return ""
    warned = server.get("what Incus cannot run", f"{at('warnings')}?recursion=1") or []
    said = [each["last_message"] for each in warned if each["type"] == WARNING and each["status"] != "resolved"]
    return "; ".join(said) or "it does not say why"


def refuse(incus: Incus, manifest: Manifest, reference: str) -> None:
    """Raise Refused where Incus runs no virtual machines, or the manifest asks for what they cannot have."""
    if lacking := missing(incus):
        do = next((remedy for part, remedy in REMEDIES if part in lacking), "see the log of Incus")
        raise Refused(
            f"image: {reference} is the image of a virtual machine, and Incus can run none on this host: {lacking}",
            f"{do}, then start Incus again, which looks only then; or use `runtime: ansible` with `verbs: qemu`, "
            "which needs none of this",
        )
    if shutil.which("mkisofs") is None:
        raise Refused(
            f"image: {reference} is the image of a virtual machine, and Incus makes what cloud-init reads there by "
            "mkisofs, which is not installed",
            "install it: `apt-get install genisoimage`",
        )
    limits = manifest.limits
    for key, wrong, right in (
        ("limits.cpus", limits.cpus is not None and limits.cpus % 1, "write a whole number"),
        ("limits.pids", limits.pids is not None, "remove it"),
        ("stop.signal", manifest.stop.signal != "SIGTERM", "remove it: the power button is pressed"),
    ):
        if wrong:
            raise Refused(f"{key}: a virtual machine of Incus does not support it", right)


def create(
    manifest: Manifest, variables: Mapping[str, str], folder: str, secrets: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """Return the configuration and the devices: variables and secrets are files that cloud-init writes."""
    files = [_file(VARIABLES, "".join(f"{name}={_quoted(value)}\n" for name, value in variables.items()), "0600")]
    files += [_file(f"{folder}/{name}", value, "0444") for name, value in secrets.items()]
    config = {"cloud-init.vendor-data": f"#cloud-config\n{json.dumps({'write_files': files})}"}
    if manifest.limits.cpus:
        config["limits.cpu"] = str(int(manifest.limits.cpus))
    if manifest.limits.memory:
        config["limits.memory"] = str(manifest.limits.memory)
    return config, {SEED: {"type": "disk", "source": "cloud-init:config"}}


def address(incus: Incus, name: str, port: int, deadline: Deadline) -> str:
    """Return where a virtual machine is reached, once its agent or a lease of its network says so."""
    seen: dict[str, Any] = {}

    def found() -> bool:
        seen.update(incus.get(f"state of {name}", at("instances", name, "state")) or {"status": "Stopped"})
        return bool(_addresses(seen)) or seen["status"] == "Stopped"

    in_time = deadline.wait(found, every=LOOK)
    if addresses := _addresses(seen):
        return f"{addresses[0]}:{port}"
    console = tuple(incus.text(f"console of {name}", at("instances", name, "console")).splitlines()[-10:])
    if in_time:
        raise DriverFailed(f"{name} has ended before it had an address", "its console says more", log=console)
    raise DeadlinePassed(
        f"{name} got no address within {deadline.seconds:.3g} s",
        "it needs a network with DHCP, by the profile `default` or `networks`; its console says how far it came",
        log=console,
    )


def _addresses(state: Mapping[str, Any]) -> list[str]:
    """Return the IPv4 addresses of its network devices, not those of networks that it has inside."""
    devices = (each for _, each in sorted((state.get("network") or {}).items()) if each.get("host_name"))
    return [a["address"] for each in devices for a in each["addresses"] if (a["family"], a["scope"]) == OF_HOST]


def _file(path: str, content: str, mode: str) -> dict[str, str]:
    encoded = base64.b64encode(content.encode()).decode()
    return {"path": path, "content": encoded, "encoding": "b64", "permissions": mode}


def _quoted(value: str) -> str:
    """Write a value as both a shell and `EnvironmentFile=` of systemd read it."""
    for letter in '\\"$`':
        value = value.replace(letter, f"\\{letter}")
    return f'"{value}"'
