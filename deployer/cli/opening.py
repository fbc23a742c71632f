"""Opening the App of a command: the state folder of this host, a server, or a control host."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from deployer.cli.apps import App
from deployer.cli.options import Common

if TYPE_CHECKING:
    from deployer.client.address import DeployServer
    from deployer.client.control import Control


@contextmanager
def open_app(common: Common) -> Iterator[App]:
    """Open the way to where the rollouts of a command are."""
    if common.server is not None:
        with _elsewhere(common, common.server) as there:
            yield there
        return
    from deployer.cli.local import LocalApp

    with LocalApp.open(common) as here:
        yield here


def _elsewhere(common: Common, server: DeployServer | Control) -> AbstractContextManager[App]:
    from deployer.client.control import Control

    if isinstance(server, Control):
        from deployer.cli.controlled import SshApp

        return SshApp.reach(common, server)
    from deployer.cli.remote import HttpApp

    return HttpApp.open(common, server)
