"""The cards of services: by them an emergency command finds the proxy without knowing anything else."""

from __future__ import annotations

from pathlib import Path

from deployer import files
from deployer.drivers.traffic.haproxy.proxy import Proxy
from deployer.emergency import card
from deployer.errors import DriverFailed


class Cards:
    """One file for each service in the state folder."""

    def __init__(self, state: Path) -> None:
        self._state = state

    def write(self, service: str, proxy: Proxy) -> None:
        """Write the card of a service, unless it is there."""
        path = self._path(service)
        try:
            if self.right(service, proxy):
                return
            path.parent.mkdir(mode=0o700, exist_ok=True)
            files.replace(path, _text(proxy))
        except OSError as error:
            raise DriverFailed(f"{path} cannot be written: {error.strerror}", "is the disk full?") from None

    def right(self, service: str, proxy: Proxy) -> bool:
        """Tell whether a service has its card."""
        path = self._path(service)
        return path.exists() and path.read_text() == _text(proxy)

    def remove(self, service: str) -> None:
        """Forget a service that the proxy does not serve any more."""
        self._path(service).unlink(missing_ok=True)

    def _path(self, service: str) -> Path:
        return Path(card.path(str(self._state), service))


def _text(proxy: Proxy) -> str:
    home = proxy.home
    return card.Card(str(proxy.master.path), str(home.state), str(home.root / "lock")).text()
