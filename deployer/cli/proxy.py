"""`deploy proxy`: what a deploy over several proxies calls on the machine of each."""

from __future__ import annotations

import os

import click

from deployer.core.clock import SystemClock
from deployer.core.errors import Exit


@click.command("proxy")
@click.option("--stdio", is_flag=True, required=True, help="Answer one client, on stdin and stdout.")
def proxy(stdio: bool) -> int:  # noqa: ARG001 - there is no other way yet
    """Answer a client for the proxy of this machine: what a deploy with `traffic.proxies` calls there by ssh.

    Who may call it may do with that proxy what this account may. No port and no socket is open for it.
    """
    from deployer.drivers.traffic.proxies.agent import serve

    outward = os.dup(1)
    os.dup2(2, 1)  # whatever else is printed must not come between the answers
    serve(0, outward, SystemClock())
    return int(Exit.DONE)
