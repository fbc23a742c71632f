"""`deploy proxy`: what a deploy over several proxies calls on the host of each."""

from __future__ import annotations

import os

import click

from deployer.core.clock import SystemClock
from deployer.core.errors import Exit


@click.command("proxy")
@click.option("--stdio", is_flag=True, required=True, help="Serve one client on stdin and stdout.")
def proxy(stdio: bool) -> int:  # noqa: ARG001 - there is no other way yet
    """(internal) Serve the proxy of this host to a deploy with `traffic.proxies`, over ssh.

    Access to this command is access to that proxy with the rights of this account. It opens no port and no socket.
    """
    from deployer.drivers.traffic.proxies.agent import serve

    outward = os.dup(1)
    os.dup2(2, 1)  # whatever else is printed must not come between the answers
    serve(0, outward, SystemClock())
    return int(Exit.DONE)
