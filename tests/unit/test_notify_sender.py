"""Sending to a real listener: signed requests and Apprise, and what either says of a failure."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployer.core.clock import Clock, Deadline, SystemClock
from deployer.drivers.notices import Notice, NoticeSide, NotSent
from deployer.drivers.notify import Sender
from deployer.manifest.models import Recipient
from deployer.model import SecretText
from tests.hook import Hook, hook
from tests.memory import FakeClock
from tests.ports import free_port

KEY, CLOCK = "a key of ours", SystemClock()
BOT = Recipient(name="bot", webhook="URL", key="KEY")
CHAT = Recipient(name="chat", apprise="URL")
NOTICE = Notice(
    "reverted", 1.5, "shop", "r2 was rolled back", rollout=2, version="2.0", candidate=NoticeSide(9, 3), exit=3
)
WAYS = pytest.mark.parametrize("way", [BOT, CHAT], ids=["webhook", "apprise"])


@pytest.fixture
def heard() -> Iterator[Hook]:
    with hook() as opened:
        yield opened


def send(recipient: Recipient, url: str, clock: Clock = CLOCK, seconds: float = 5.0) -> None:
    secrets = {"URL": SecretText(url), "KEY": SecretText(KEY)}
    Sender(clock).send(recipient, NOTICE, secrets, Deadline.after(clock, seconds))


def address(recipient: Recipient, at: str) -> str:
    """Return the URL of a listener, with a secret in it."""
    return (
        f"http://{at}/very-secret" if recipient is BOT else f"json://user:secretpassword@{at}/very-secret?cto=1&rto=1"
    )


def refusal(recipient: Recipient, url: str, seconds: float = 5.0) -> NotSent:
    """Send in vain; return the refusal, in whose words nothing of the URL may stand."""
    with pytest.raises(NotSent) as caught:
        send(recipient, url, seconds=seconds)
    assert "secret" not in str(caught.value).replace("the secret URL", "")
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return caught.value


def test_a_webhook_is_signed_with_its_time(heard: Hook) -> None:
    send(BOT, f"{heard.url}/hook?a=b\n", FakeClock())
    (got,) = heard.heard
    assert got.path == "/hook?a=b"
    assert got.data == NOTICE.to_dict()
    assert got.genuine(KEY)
    assert not got.genuine(KEY + ".")
    assert got.headers["X-Deploy-Timestamp"] == "1700000000"
    assert got.headers["X-Deploy-Event"] == "reverted"
    assert got.headers["X-Deploy-Delivery"] == NOTICE.id
    assert got.headers["Content-Type"] == "application/json"


def test_apprise_tells_title_and_lines(heard: Hook) -> None:
    send(CHAT, address(CHAT, heard.address))
    (got,) = heard.heard
    assert (got.data["title"], got.data["type"]) == (NOTICE.title, "failure")
    assert got.data["message"] == "\n".join(NOTICE.lines)


@WAYS
@pytest.mark.parametrize("status", [404, 500, 503])
def test_a_bad_status_is_said(heard: Hook, way: Recipient, status: int) -> None:
    heard.statuses = [status]
    error = refusal(way, address(way, heard.address))
    assert str(error) == f"HTTP {status}"
    assert error.again == (way is CHAT or status >= 500)


@pytest.mark.parametrize(("status", "again"), [(400, False), (408, True), (410, False), (429, True), (502, True)])
def test_what_another_attempt_may_change(heard: Hook, status: int, again: bool) -> None:
    heard.statuses = [status]
    assert refusal(BOT, heard.url).again is again


def test_a_redirect_is_not_followed(heard: Hook) -> None:
    heard.statuses, heard.location = [307], "/elsewhere"
    assert str(refusal(BOT, heard.url)) == "HTTP 307"
    assert len(heard.heard) == 1


@WAYS
def test_nobody_there(way: Recipient) -> None:
    error = refusal(way, address(way, f"127.0.0.1:{free_port()}"))
    assert str(error) == {BOT: "connection refused", CHAT: "no connection, or no response in time"}[way]
    assert error.again


@WAYS
def test_one_that_hangs_up(heard: Hook, way: Recipient) -> None:
    heard.statuses = [0]
    assert refusal(way, address(way, heard.address)).again


@WAYS
def test_one_that_hangs(heard: Hook, way: Recipient) -> None:
    heard.hangs = True
    error = refusal(way, address(way, heard.address), 0.2)
    # What is left of the time when it is asked is what it is said to have had.
    assert re.fullmatch(
        {BOT: r"no response within 0\.[12]\d* s", CHAT: "no connection, or no response in time"}[way], str(error)
    )


@pytest.mark.parametrize(
    ("recipient", "url", "told"),
    [
        (BOT, "ftp://example.com/very-secret", "the secret URL is not an address with https:// or http://"),
        (BOT, "very-secret", "the secret URL is not an address with https:// or http://"),
        (BOT, "http://[very-secret", "a response that cannot be understood (InvalidURL)"),
        (CHAT, "nothing://very-secret", "Apprise does not understand the URL"),
        (CHAT, "very-secret", "Apprise does not understand the URL"),
    ],
)
def test_what_is_no_address(recipient: Recipient, url: str, told: str) -> None:
    assert str(refusal(recipient, url)) == told


def test_a_secret_without_a_value() -> None:
    with pytest.raises(NotSent, match="no value of the secret URL") as caught:
        Sender(CLOCK).send(BOT, NOTICE, {}, Deadline.after(CLOCK, 5))
    assert not caught.value.again


def test_no_password_is_taken_from_the_home(heard: Hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login ann password elsewhere\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    send(BOT, heard.url)
    assert "Authorization" not in heard.heard[0].headers


def test_apprise_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    error = refusal(CHAT, "json://127.0.0.1")
    assert f"{sys.executable} -m pip install 'twin-deployer[notify]'" in str(error)
    assert not error.again


def test_apprise_says_nothing_itself(heard: Hook) -> None:
    said: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if not record.name.startswith("urllib3"):  # which says addresses to whoever asks it for details
                said.append(record.getMessage())

    ear = Ear()
    root, before = logging.getLogger(), logging.getLogger().level
    root.addHandler(ear)
    root.setLevel(logging.DEBUG)
    try:
        heard.statuses = [500]
        refusal(CHAT, address(CHAT, heard.address))
        refusal(CHAT, "very-secret")
        logging.getLogger("other").warning("heard")
    finally:
        root.removeHandler(ear)
        root.setLevel(before)
    assert "heard" in said
    assert not [text for text in said if "secret" in text]


def test_a_plugin_that_breaks_is_said_without_its_words(heard: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    import apprise

    def broken(*_: object, **__: object) -> bool:
        raise RuntimeError("very-secret")

    monkeypatch.setattr(apprise.Apprise, "notify", broken)
    assert str(refusal(CHAT, address(CHAT, heard.address))) == "Apprise failed: RuntimeError"
