"""`App` on a control host, by HTTP through ssh: all files are there, the manifest, too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from deployer.client.calls import Calls
from deployer.client.control import Control
from deployer.client.http_app import HttpApp, fingerprint_of
from deployer.client.http_sets import HttpSets
from deployer.client.ssh import Channels, session_over
from deployer.core.clock import SystemClock
from deployer.core.errors import Refused
from deployer.core.local_host import whoami
from deployer.manifest.target import Target, service_name
from deployer.planning.orders import Order
from deployer.transport.greeting import Greeting, Welcome

NAMING = "name the folder of the manifest there, ssh://HOST/FOLDER, or the file there, -f FILE"


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
                f"{self._target.file} here is for {here}, {self._welcome.manifest} at {url} is for {there}",
                "say which one with --service NAME",
            )
        if there or here:
            return service_name(there or here)
        known = self.services()
        if len(known) == 1:
            return known[0]
        if known:
            raise Refused(f"there are {len(known)} services at {url}: {', '.join(known)}", "--service NAME says which")
        raise Refused(f"nothing was deployed at {url} yet", f"{NAMING}; --state names another state folder there")

    def _with_manifest(self, order: Order) -> Order:
        """Return the order if the manifest there is for it, and the same as the one that lies here, if one does."""
        welcome, url, file = self._welcome, self.calls.server.url, self._target.file
        if not welcome.manifest:
            raise Refused(f"{url} has no {file} in {welcome.folder}", NAMING)
        there, asked = welcome.set_name or welcome.service, order.set_name or order.service
        if there and (there != asked or bool(welcome.set_name) != bool(order.set_name)):
            what = f"the set {there}" if welcome.set_name else there
            raise Refused(f"{welcome.manifest} at {url} is for {what}, not for {order.about}", NAMING)
        here = not self._target.named and self._target.manifest_here
        return replace(order, fingerprint=fingerprint_of(order) if here else "")

    @property
    def sets(self) -> SshSets:
        """What is asked about sets of services; an order with `set_name` is for one."""
        return SshSets(self, self._orders, self._target, self._meant, self._welcome)


@dataclass(frozen=True)
class SshSets(HttpSets):
    """What is asked about sets at a control host; `welcome` says of which it has the release file."""

    welcome: Welcome

    def meant(self) -> str:
        """Return the set that is meant where none is named."""
        there, target, url = self.welcome.set_name, self.target, self.client.calls.server.url
        if target.set_name is None and target.named:  # a file there
            if not there:
                why = f": {self.welcome.trouble}" if self.welcome.trouble else ""
                raise Refused(f"{target.file} at {url} is not a release file{why}", NAMING)
            return service_name(there, "a set")
        found = target.set_of(lambda: (there,) if there else self.names(), os.environ)
        if there and target.manifest_here and there != found:
            raise Refused(
                f"{target.file} here is for {found}, {self.welcome.manifest} at {url} is for {there}",
                "say which one with --set NAME",
            )
        return found or super().meant()


def _greeting(control: Control, target: Target, state: Path | None) -> Greeting:
    by, _, host = whoami().rpartition("@")
    return Greeting(
        by,
        host,
        folder=control.folder,
        file=str(target.file),
        destination=target.destination,
        state=str(state) if state else "",
    )
