"""What sends notices to people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from deployer.core.clock import Deadline
from deployer.model import SecretText

if TYPE_CHECKING:
    from deployer.drivers.notices import Notice
    from deployer.manifest.models import Recipient


class Notifier(Protocol):
    """Notifies people; for a house, not for a service: it changes nothing, and holds nothing open."""

    def send(self, recipient: Recipient, notice: Notice, secrets: Mapping[str, SecretText], deadline: Deadline) -> None:
        """Send a notice once. Raises NotSent, with none of the secrets in its words.

        It is called where nobody waits for it: a way with time-outs of its own need not know the deadline.
        """
        ...
