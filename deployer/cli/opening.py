"""Opening the App of a command: the state folder of this host, a server, or a control host."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from deployer.cli.options import Common

if TYPE_CHECKING:
    from deployer.app.interface import App


def open_app(common: Common) -> AbstractContextManager[App]:
    """Open the way to where the rollouts of a command are."""
    if common.server is None:
        from deployer.app.local import LocalApp, at

        return LocalApp(at(common.state), common.target)
    from deployer.client.control import Control

    if isinstance(common.server, Control):
        from deployer.client.ssh_app import SshApp

        return SshApp.reach(common.server, common.target, common.state if common.state_named else None)
    from deployer.client.http_app import HttpApp

    return HttpApp.open(common.server, common.target)
