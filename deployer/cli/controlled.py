"""A control host, as commands ask it: all files are there, the manifest, too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from deployer.cli.options import Common
from deployer.cli.remote import HttpApp
from deployer.cli.values import service
from deployer.client.calls import Calls
from deployer.client.control import Control
from deployer.client.ssh import Channels, session_over
from deployer.core.clock import SystemClock
from deployer.core.errors import Refused
from deployer.core.local_host import whoami
from deployer.manifest.fingerprint import fingerprint
from deployer.manifest.peek import service_of
from deployer.planning.orders import Order
from deployer.transport.greeting import Greeting, Welcome


class SshApp(HttpApp):
    """Asks a control host; `welcome` says what it has."""

    def __init__(self, common: Common, calls: Calls, welcome: Welcome) -> None:
        super().__init__(common, calls)
        self._welcome = welcome

    @classmethod
    @contextmanager
    def reach(cls, common: Common, control: Control) -> Iterator[SshApp]:
        """Have it, and end every ssh. Raises NoServer when there is no way to it."""
        clock = SystemClock()
        channels = Channels(control, _greeting(common, control), clock)
        try:
            calls = Calls(control, session_over(channels), clock)
            try:
                yield cls(common, calls, channels.welcome)
            finally:
                calls.close()
        finally:
            channels.close()

    def service(self) -> str:
        """Name the service that the command means."""
        if self._common.service is not None:
            return service(self._common.service)
        there, url = self._welcome.service, self.calls.server.url
        if self._welcome.trouble:
            raise Refused(f"{url}: {self._welcome.trouble}", "name the service with --service NAME")
        here = "" if self._common.named else service_of(self._common.file, self._common.destination or "")
        if there and here and there != here:
            raise Refused(
                f"{self._common.file} here is about {here}, {self._welcome.manifest} at {url} is about {there}",
                "say which one with --service NAME",
            )
        if there or here:
            return service(there or here)
        known = self.services()
        if len(known) == 1:
            return known[0]
        if known:
            raise Refused(f"there are {len(known)} services at {url}: {', '.join(known)}", "--service NAME says which")
        raise Refused(
            f"nothing was deployed at {url} yet", f"{self._naming()}; --state names another state folder there"
        )

    def _with_manifest(self, order: Order) -> Order:
        """Give the order if the manifest there is for it, and the same as the one that lies here, if one does."""
        welcome, url, file = self._welcome, self.calls.server.url, self._common.file
        if not welcome.manifest:
            raise Refused(f"{url} has no {file} in {welcome.folder}", self._naming())
        if welcome.service and welcome.service != order.service:
            raise Refused(
                f"{welcome.manifest} at {url} is about {welcome.service}, not about {order.service}", self._naming()
            )
        here = not self._common.named and self._common.service is None and file.exists()
        return replace(order, fingerprint=fingerprint(file, order.destination) if here else "")

    def _naming(self) -> str:
        return "name the folder of the manifest there, ssh://HOST/FOLDER, or the file there, -f FILE"


def _greeting(common: Common, control: Control) -> Greeting:
    by, _, machine = whoami().rpartition("@")
    return Greeting(
        by,
        machine,
        folder=control.folder,
        file=str(common.file),
        destination=common.destination or "",
        state=str(common.state) if common.state_named else "",
    )
