"""`App` on a control host, by HTTP through ssh: all files are there, the manifest, too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from deployer.client.calls import Calls
from deployer.client.control import Control
from deployer.client.http_app import HttpApp
from deployer.client.ssh import Channels, session_over
from deployer.core.clock import SystemClock
from deployer.core.errors import Refused
from deployer.core.local_host import whoami
from deployer.manifest.fingerprint import fingerprint
from deployer.manifest.target import Target, service_name
from deployer.planning.orders import Order
from deployer.transport.greeting import Greeting, Welcome


class SshApp(HttpApp):
    """Asks a control host; `welcome` says what it has."""

    def __init__(self, calls: Calls, target: Target, welcome: Welcome) -> None:
        super().__init__(calls, target)
        self._welcome = welcome

    @classmethod
    @contextmanager
    def reach(cls, control: Control, target: Target, state: Path | None = None) -> Iterator[SshApp]:
        """Have it, and end every ssh; `state` is the folder to use there. Raise NoServer when there is no way to it."""
        clock = SystemClock()
        channels = Channels(control, _greeting(control, target, state), clock)
        try:
            calls = Calls(control, session_over(channels), clock)
            try:
                yield cls(calls, target, channels.welcome)
            finally:
                calls.close()
        finally:
            channels.close()

    def service(self) -> str:
        """Return the service that is meant where none is named."""
        if self._target.service is not None:
            return service_name(self._target.service)
        there, url = self._welcome.service, self.calls.server.url
        if self._welcome.trouble:
            raise Refused(f"{url}: {self._welcome.trouble}", "name the service with --service NAME")
        here = "" if self._target.named else self._target.peeked()
        if there and here and there != here:
            raise Refused(
                f"{self._target.file} here is about {here}, {self._welcome.manifest} at {url} is about {there}",
                "say which one with --service NAME",
            )
        if there or here:
            return service_name(there or here)
        known = self.services()
        if len(known) == 1:
            return known[0]
        if known:
            raise Refused(f"there are {len(known)} services at {url}: {', '.join(known)}", "--service NAME says which")
        raise Refused(
            f"nothing was deployed at {url} yet", f"{self._naming()}; --state names another state folder there"
        )

    def _with_manifest(self, order: Order) -> Order:
        """Return the order if the manifest there is for it, and the same as the one that lies here, if one does."""
        welcome, url, file = self._welcome, self.calls.server.url, self._target.file
        if not welcome.manifest:
            raise Refused(f"{url} has no {file} in {welcome.folder}", self._naming())
        if welcome.service and welcome.service != order.service:
            raise Refused(
                f"{welcome.manifest} at {url} is about {welcome.service}, not about {order.service}", self._naming()
            )
        here = not self._target.named and self._target.manifest_here
        return replace(order, fingerprint=fingerprint(file, order.destination) if here else "")

    def _naming(self) -> str:
        return "name the folder of the manifest there, ssh://HOST/FOLDER, or the file there, -f FILE"


def _greeting(control: Control, target: Target, state: Path | None) -> Greeting:
    by, _, machine = whoami().rpartition("@")
    return Greeting(
        by,
        machine,
        folder=control.folder,
        file=str(target.file),
        destination=target.destination,
        state=str(state) if state else "",
    )
