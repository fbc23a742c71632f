"""`deploy keep`: what runs is what it should be, between deploys too."""

from __future__ import annotations

import threading

import click

from deployer.cli.options import Common, common, log_format
from deployer.cli.session import house, signals
from deployer.core.errors import Exit


@click.command("keep")
@common()
@log_format
def keep(common: Common, form: str) -> int:
    """Keep live services as they should be between deploys, until a signal ends it. `deploy serve` does the same.

    It starts lost instances again, adapts the size of a service with `scale` to its load, removes environments that
    need not be kept warm any more, and returns to the manifest's number of instances when the time of
    `deploy scale N --for TIME` is over. It evicts guests when their owner needs the memory, and lets them in again
    when there is room.
    """
    from deployer.app.wiring import open_house
    from deployer.server.keeper import KeeperLoop
    from deployer.server.log import ServerLog

    asked = threading.Event()
    with house(common):  # refuses a folder that cannot be used, and a server that was named
        pass
    log = ServerLog(lines=form == "json")
    loop = KeeperLoop(log, lambda stop: open_house(common.state, stop=stop))
    with signals(asked):
        loop.start()
        log.say("keeping", f"keeping what runs from {common.state}; Ctrl-C ends it", state=str(common.state))
        asked.wait()
        loop.stop()
    return int(Exit.DONE)
