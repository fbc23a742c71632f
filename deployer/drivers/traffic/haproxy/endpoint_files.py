"""The cards of services: by them an emergency command finds the proxy without knowing anything else."""

from __future__ import annotations

from pathlib import Path

from deployer.core import files
from deployer.core.errors import DriverFailed
from deployer.drivers.traffic.haproxy.layout import Home
from deployer.emergency import endpoint


class Cards:
    """One file for each service in the state folder; `text` says where the proxy is. None where there is no folder."""

    def __init__(self, state: Path | None, text: str) -> None:
        self._state, self._text = state, text

    def write(self, service: str) -> None:
        """Write the card of a service, unless it is there."""
        path = self._path(service)
        try:
            if path is None or self.right(service):
                return
            path.parent.mkdir(mode=0o700, exist_ok=True)
            files.replace(path, self._text)
        except OSError as error:
            raise DriverFailed(f"{path} cannot be written: {error.strerror}", "is the disk full?") from None

    def right(self, service: str) -> bool:
        """Return whether a service has its card, if it is to have one."""
        path = self._path(service)
        return path is None or (path.exists() and path.read_text() == self._text)

    def remove(self, service: str) -> None:
        """Forget a service that the proxy does not serve any more."""
        if path := self._path(service):
            path.unlink(missing_ok=True)

    def _path(self, service: str) -> Path | None:
        return Path(endpoint.path(str(self._state), service)) if self._state else None


def card_of(master: Path, home: Home) -> endpoint.Card:
    """Return what is on the card of a proxy with this master socket and these files."""
    return endpoint.Card(str(master), str(home.state), str(home.root / "lock"))
