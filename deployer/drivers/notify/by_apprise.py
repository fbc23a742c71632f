"""Notices through Apprise: about 130 services, chosen by a URL that holds its credentials.

Nothing that Apprise says is repeated: its log may quote a part of the URL. What is told of a failure is a status or one
of a few sentences of ours.
"""

from __future__ import annotations

import logging
import re
import threading

from deployer.core import extras
from deployer.drivers.notices import Notice, NotSent

_STATUS = re.compile(r"error=([1-5][0-9]{2})\b")
_GOOD, _BAD = frozenset({"done"}), frozenset({"detached", "reverted", "needs-attention"})


def send(url: str, notice: Notice) -> None:
    """Send it once. Raises NotSent."""
    try:
        from apprise import Apprise, AppriseAsset, NotifyFormat, NotifyType
    except ImportError:
        raise NotSent(f"Apprise is not installed: {extras.how_to_add('notify')}", again=False) from None

    class Asset(AppriseAsset):
        """What it is to call itself; it must not start threads, for which a process would wait at its end."""

        app_id = app_desc = "deployer"
        app_url = ""
        image_url_mask = image_url_logo = ""  # no picture of a stranger
        _service_timeout = 0.0

    kind = NotifyType.INFO
    if notice.kind in _GOOD:
        kind = NotifyType.SUCCESS
    elif notice.kind in _BAD:
        kind = NotifyType.FAILURE
    elif notice.kind == "paused":
        kind = NotifyType.WARNING
    with _Heard() as heard:
        try:
            opened = Apprise(asset=Asset())
            if not opened.add(url):
                raise NotSent("Apprise does not understand the URL", again=False)
            body = "\n".join(notice.lines)
            sent = bool(opened.notify(body=body, title=notice.title, notify_type=kind, body_format=NotifyFormat.TEXT))
        except NotSent:
            raise
        except Exception as error:  # noqa: BLE001 - whatever one of its many plugins raises, with who knows what in it
            raise NotSent(f"Apprise failed: {type(error).__name__}") from None
    if not sent:
        raise NotSent(heard.why())


class _Heard(logging.Handler):
    """Listens to what Apprise logs in this thread, and keeps it from everybody else."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._thread, self._texts = threading.get_ident(), ""
        self._logger = logging.getLogger("apprise")

    def __enter__(self) -> _Heard:
        self._logger.propagate = False  # for good: a handler that writes to stderr would show a part of the URL
        self._logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the text."""
        if record.thread == self._thread:
            self._texts += f"{record.getMessage()}\n"

    def why(self) -> str:
        """Return why it was not sent, as far as it can be known."""
        if found := _STATUS.search(self._texts):
            return f"HTTP {found[1]}"
        if "onnection error" in self._texts or "onnection Error" in self._texts:
            return "no connection, or no response in time"
        return "Apprise could not send it"
