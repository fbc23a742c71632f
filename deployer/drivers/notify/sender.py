"""One notice to one recipient, once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from deployer.core import web
from deployer.core.clock import Clock, Deadline
from deployer.core.secret import SecretText
from deployer.drivers.notices import Notice, NotSent

if TYPE_CHECKING:
    from deployer.manifest.models import Recipient

EVENT, DELIVERY = "X-Deploy-Event", "X-Deploy-Delivery"
_AGAIN = frozenset({408, 425, 429})  # statuses below 500 that another attempt may not meet


class Sender:
    """Sends as the manifest says: by Apprise, or by a signed request."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def send(self, recipient: Recipient, notice: Notice, secrets: Mapping[str, SecretText], deadline: Deadline) -> None:
        """Send it once. Raises NotSent, with none of the secrets in its words.

        The deadline is for each wait of a request. Apprise has time-outs of its own, 4 s unless its URL says otherwise.
        """
        if recipient.apprise:
            from deployer.drivers.notify.by_apprise import send

            send(_value(recipient.apprise, secrets), notice)
            return
        url, key = (_value(name or "", secrets) for name in (recipient.webhook, recipient.key))
        self._post(url, key, recipient, notice, deadline)

    def _post(self, url: str, key: str, recipient: Recipient, notice: Notice, deadline: Deadline) -> None:
        if not url.startswith(("https://", "http://")):
            raise NotSent(f"the secret {recipient.webhook} is not an address with https:// or http://", again=False)
        body = json.dumps(notice.to_dict()).encode()
        more = {EVENT: notice.kind, DELIVERY: notice.id}
        try:
            status = web.post_signed(url, body, key, self._clock.now(), deadline.left(), more)
        except web.Unanswered as error:
            raise NotSent(str(error)) from None
        if not 200 <= status < 300:
            raise NotSent(f"HTTP {status}", again=status >= 500 or status in _AGAIN)


def _value(name: str, secrets: Mapping[str, SecretText]) -> str:
    if name not in secrets:
        raise NotSent(f"there is no value of the secret {name}", again=False)
    return secrets[name].reveal().strip()
