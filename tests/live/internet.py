"""What guests with `network: out` reach: a host with a public address, which answers by HTTP and for names."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.machines.programs import call
from tests.services import require
from tests.waiting import within

HERE, ADDRESS = "203.0.113.1", "203.0.113.2"  # TEST-NET-3, RFC 5737
# Answers every question with an address, and whoever connects.
_PROGRAM = """
import http.server, socket, threading
names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
names.bind(("", 53))
def answer():
    while True:
        asked, who = names.recvfrom(512)
        end = asked.index(b"\\0", 12) + 5
        given = b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\x3c\\0\\4\\xcb\\0\\x71\\2"
        names.sendto(asked[:2] + b"\\x81\\x80\\0\\1\\0\\1\\0\\0\\0\\0" + asked[12:end] + given, who)
threading.Thread(target=answer, daemon=True).start()
http.server.HTTPServer(("", 80), http.server.BaseHTTPRequestHandler).serve_forever()
"""


@contextmanager
def internet(*bridges: str) -> Iterator[None]:
    """Have such a host behind this one, which forwards to it what comes from these interfaces."""
    require("root", "iptables")
    name = f"dpnet{secrets.token_hex(3)}"
    outer, inner = f"{name}h", f"{name}i"
    call("ip", "netns", "add", name)
    try:
        call("ip", "link", "add", outer, "type", "veth", "peer", "name", inner, "netns", name)
        call("ip", "address", "add", f"{HERE}/24", "dev", outer)
        call("ip", "link", "set", outer, "up")
        for words in (f"address add {ADDRESS}/24 dev {inner}", f"link set {inner} up", "link set lo up"):
            call("ip", "-n", name, *words.split())
        call("ip", "-n", name, "route", "add", "default", "via", HERE)
        for interface in (outer, *bridges):
            Path(f"/proc/sys/net/ipv4/conf/{interface}/forwarding").write_text("1")
        with subprocess.Popen(["ip", "netns", "exec", name, sys.executable, "-c", _PROGRAM]) as server:
            try:
                within(30).until(lambda: _listens(name), "it listens")
                yield
            finally:
                server.kill()
    finally:
        call("ip", "netns", "delete", name)
        call("ip", "link", "delete", outer, check=False)


def _listens(name: str) -> bool:
    return ":80 " in call("ip", "netns", "exec", name, "ss", "-Hltn").stdout
