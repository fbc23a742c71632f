"""Where users are: their packets come to this host by a network, so that the rules of its firewall hold."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tests.services import require


@dataclass(frozen=True)
class Outside:
    """`inside` is what runs a command there; `url` is this host, seen from there."""

    inside: tuple[str, ...]
    url: str


@contextmanager
def outside(name: str, port: int, rules: Sequence[str]) -> Iterator[Outside]:
    """Have a network of its own; of the lines `rules`, those of iptables are undone at the end."""
    require("root", "iptables")
    name = name[-8:]
    net = f"198.18.{int(name, 16) % 250}"  # RFC 2544: for tests of networks
    lines = (
        f"ip netns add {name}",
        f"ip link add v{name} type veth peer name u{name} netns {name}",
        f"ip addr add {net}.1/24 dev v{name}",
        f"ip link set v{name} up",
        f"ip -n {name} addr add {net}.2/24 dev u{name}",
        f"ip -n {name} link set u{name} up",
    )
    # The rules of an engine keep connections tracked; the engine of the tests may have none (`iptables: false`).
    kept = f"-t nat POSTROUTING -s {net}.0/24 -d {net}.0/24 -j MASQUERADE".split()
    try:
        for line in lines:
            subprocess.run(line.split(), check=True, capture_output=True)
        subprocess.run(["iptables", *kept[:2], "-A", *kept[2:]], check=True, capture_output=True)
        yield Outside(("ip", "netns", "exec", name), f"http://{net}.1:{port}")
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True)
        subprocess.run(["iptables", *kept[:2], "-D", *kept[2:]], capture_output=True)
        for rule in rules:
            if rule.startswith("iptables"):
                subprocess.run(["bash", "-c", rule.replace(" -I ", " -D ")], capture_output=True)
