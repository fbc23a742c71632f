"""Telling people elsewhere: through Apprise, and by signed requests."""

from deployer.drivers.notify.sender import Sender

__all__ = ["Sender"]
