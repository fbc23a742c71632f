"""Somebody with a key for the control host, from a folder that has neither state nor manifest."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.live.afar import Afar
from tests.live.shop import Shop
from tests.live.sshd import Sshd
from tests.load import Options

USERS = Options(rate=60, kinds=("fresh", "busy", "sticky"))
SSHD_PATH = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"


class Laptop(Afar):
    """Somebody who may use ssh to the control host of a service, and has nothing else."""

    def __init__(self, shop: Shop, way: Sshd, name: str = "laptop") -> None:
        self.url = f"{way.address}{shop.folder}"
        who = {"DEPLOYER_ACTOR": "ann", "DEPLOYER_HOSTNAME": "laptop"}
        super().__init__(shop.folder / name, DEPLOYER_ON=self.url, DEPLOYER_SSH_ARGS=way.args, **who)
