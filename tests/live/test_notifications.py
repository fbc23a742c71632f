"""Rollouts that are told to a real listener, by Apprise and by signed requests: well, badly, late, after a kill."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.hook import Hook, hook
from tests.house import owed
from tests.live.shop import Shop
from tests.live.told import Told
from tests.load import Load, Options
from tests.ports import free_port

pytestmark = pytest.mark.live

KEY = "signed by us"
USERS = Options(rate=100, kinds=("fresh", "busy", "post"))
WAIT = 10.0  # the most for which a command waits at its end
SLACK = 20.0  # seconds by which two rollouts of the same kind may differ here, on a busy host
SIDES = {"chat": "/chat", "bot": "/bot"}
# Loaded by the interpreter before the command.
KILLED = """
import os, signal
from deployer.store.rollouts import Rollouts
ended = Rollouts.ended
def kill(*given, **named):
    ended(*given, **named)
    os.kill(os.getpid(), signal.SIGKILL)
Rollouts.ended = kill
"""
WAITING = """
from deployer.drivers.notices.outbox import Outbox
Outbox.put = Outbox._attempts
"""


class Teller:
    """A service, and who is told of it."""

    def __init__(self, shop: Shop, heard: Hook) -> None:
        self.shop, self.heard = shop, heard

    def tell(self, address: str = "", *, events: list[str] | None = None) -> None:
        """Let the service tell two recipients at this address: one through Apprise, one by signed requests."""
        at = address or self.heard.address
        more = {"events": events} if events else {}
        self.shop.environ |= {"CHAT_URL": f"json://{at}/chat?rto=3&cto=3", "HOOK_URL": f"http://{at}/bot"}
        (self.shop.folder / "key").write_text(f"{KEY}\n")
        self.shop.write(
            secrets={
                "CHAT_URL": {"env": "CHAT_URL", "deliver": "none"},
                "HOOK_URL": {"env": "HOOK_URL", "deliver": "none"},
                "HOOK_KEY": {"file": "key", "deliver": "none"},
            },
            notify={
                "link": "https://deploys.example.com/{service}/{rollout}",
                "to": [
                    {"name": "chat", "apprise": "CHAT_URL", **more},
                    {"name": "bot", "webhook": "HOOK_URL", "key": "HOOK_KEY", **more},
                ],
            },
        )

    def bring(self, version: str, *, expect: int = 0) -> tuple[Told, float]:
        """Bring a version to everyone; return what was told of it here, and how long the command took after its end."""
        self.shop.version(version)
        told = self.shop.told("bluegreen", "--bake", "0", "--version", version, expect=expect)
        return told, time.time() - float(told.ended["at"])

    def bodies(self, name: str = "bot") -> list[dict[str, Any]]:
        return [h.data for h in self.heard.heard if h.path.partition("?")[0] == SIDES[name]]

    def kinds(self) -> list[str]:
        return [str(body["event"]) for body in self.bodies()]

    def planted(self, code: str) -> None:
        """Run code before every command from now on."""
        folder = self.shop.folder / "site"
        folder.mkdir(exist_ok=True)
        (folder / "sitecustomize.py").write_text(code)
        self.shop.environ["PYTHONPATH"] = str(folder)


@pytest.fixture
def teller(process_shop: Shop) -> Iterator[Teller]:
    with hook() as heard:
        yield Teller(process_shop, heard)


@pytest.mark.long("two canaries and the way back", every_change=True)
def test_a_canary_its_verdict_and_a_rollback_are_told(teller: Teller) -> None:
    shop = teller.shop
    teller.tell(events=["started", "verdict", "paused", "detached", "done", "reverted", "needs-attention"])
    shop.version("2.0")
    shop.version("3.0", {"ERR": "0.3"})
    with Load(shop.url, USERS) as load:
        load.until(lambda now: now.answered > 100, "the load runs")
        shop.deploy("canary", "--percent", "10", "--hold", "--version", "2.0", "-m", "faster search")
        shop.deploy("promote")
        shop.deploy("canary", "--for", "60s", "--version", "3.0", expect=3)  # it ends as soon as it is found worse
        shop.deploy("rollback", "--again", "-m", "to be sure")
        report = load.stop()

    kinds = [kind for kind in teller.kinds() if kind != "verdict"]
    assert kinds == ["started", "paused", "done", "started", "reverted", "started", "done"]
    assert len(teller.bodies("chat")) == len(teller.bodies("bot"))
    assert all(h.genuine(KEY) for h in teller.heard.heard if h.path == "/bot")
    assert len({body["id"] for body in teller.bodies()}) == len(teller.bodies())
    _, held, done, _, reverted, _, back = (b for b in teller.bodies() if b["event"] != "verdict")
    assert (held["share"], held["reason"], held["release"]["version"]) == (1000, "faster search", "2.0")
    assert (done["share"], done["exit"], done["title"]) == (10_000, 0, f"{shop.name} 2.0 is live")
    assert (reverted["exit"], reverted["verdict"], reverted["share"]) == (3, "worse", 0)
    assert reverted["candidate"]["errors"] > 0
    assert reverted["seconds"] > 0
    assert reverted["link"] == f"https://deploys.example.com/{shop.name}/{reverted['rollout']}"
    assert (back["strategy"], back["reason"], back["release"]["version"]) == ("rollback", "to be sure", "1.0")
    chat = teller.bodies("chat")[-1]
    assert (chat["title"], chat["type"]) == (back["title"], "success")
    assert report.answered > 100
    assert not owed(shop.state)


@pytest.mark.long("it waits for who never answers")
@pytest.mark.parametrize("fault", ["hangs", "refuses", "hangs up", "answers 500"])
def test_who_cannot_be_told_changes_neither_outcome_nor_time(teller: Teller, fault: str) -> None:
    before, _ = teller.bring("2.0")
    teller.tell(f"127.0.0.1:{free_port()}" if fault == "refuses" else "")
    teller.heard.hangs = fault == "hangs"
    teller.heard.statuses = [{"hangs up": 0, "answers 500": 500}.get(fault, 204)]
    told, after = teller.bring("3.0")

    assert told.ended["outcome"] == "done"
    kinds = [e["event"] for e in told.events]
    assert kinds.index("step.began") < kinds.index("notify.failed"), "it began before the first notice was given up"
    assert abs(told.ended["seconds"] - before.ended["seconds"]) < SLACK
    assert after < WAIT + SLACK
    failed = {(e["to"], e["about"]) for e in told.all("notify.failed")}
    assert failed == {(name, about) for name in SIDES for about in ("started", "done")}
    assert len(told.all("notify.failed")) == len(failed), "one line for each"
    assert "127.0.0.1" not in "".join(e["text"] for e in told.all("notify.failed"))
    assert teller.shop.get().text.strip() == "3.0"


@pytest.mark.long("it waits for who never answers")
def test_waiting_for_who_hangs_would_be_seen(teller: Teller) -> None:
    """The same with a planted fault: a notice is sent where the rollout waits for it."""
    before, _ = teller.bring("2.0")
    teller.tell()
    teller.heard.hangs = True
    teller.planted(WAITING)
    told, _ = teller.bring("3.0")

    assert told.ended["seconds"] - before.ended["seconds"] > SLACK


@pytest.mark.long("it waits for who never answers")
def test_one_that_hangs_keeps_nobody_else_from_being_told(teller: Teller) -> None:
    teller.tell()
    with hook() as other:
        other.hangs = True
        teller.shop.environ["HOOK_URL"] = f"{other.url}/bot"
        told, _ = teller.bring("2.0")
        assert [e["to"] for e in told.all("notify.failed")] == ["bot", "bot"]
    assert [b["title"].partition(" ")[2] for b in teller.bodies("chat")] == ["2.0: bluegreen started", "2.0 is live"]


@pytest.mark.long("a rollout that is killed and resumed")
def test_a_killed_rollout_tells_its_ending_when_it_is_resumed(teller: Teller) -> None:
    shop = teller.shop
    teller.tell()
    shop.version("2.0")
    shop.write(strategy={"canary": {"steps": [10], "for": "60s", "bake": "0s"}})
    with shop.start("canary", "--version", "2.0") as process:
        shop.wait(lambda now: now["share"] == 1000, "the canary has users")
        teller.heard.until(lambda h: len(h.heard) == 2, "its beginning is told")
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
    shop.deploy("abort", "-m", "it was killed")

    assert teller.kinds() == ["started", "reverted"]
    assert "it was killed" in teller.bodies()[-1]["text"]


@pytest.mark.long("a rollout that is killed and resumed")
def test_an_ending_whose_process_was_killed_before_it_was_told_is_told_by_resume(teller: Teller) -> None:
    shop = teller.shop
    teller.tell()
    shop.version("2.0")
    teller.planted(KILLED)
    with shop.start("bluegreen", "--bake", "0", "--version", "2.0") as process:
        assert process.wait(60) == -signal.SIGKILL
    assert "done" not in teller.kinds()
    assert len(owed(shop.state)) == 1
    shop.environ.pop("PYTHONPATH")
    shop.deploy("resume", expect=2)

    assert teller.kinds()[-1] == "done"
    assert teller.bodies()[-1]["title"] == f"{shop.name} 2.0 is live"
    assert not owed(shop.state)
    shop.deploy("resume", expect=2)
    assert teller.kinds().count("done") == 1, "once"


@pytest.mark.long("it waits for who never answers")
def test_a_test_message_says_whether_it_arrived(teller: Teller) -> None:
    shop = teller.shop
    shop.deploy("notify", "test", expect=2)
    teller.tell()
    assert shop.deploy("notify", "test").stdout.splitlines() == ["chat: sent", "bot: sent"]
    assert teller.kinds() == ["test"]
    assert teller.bodies("chat")[0]["title"].endswith("a test")
    teller.heard.statuses = [503]
    assert shop.deploy("notify", "test", "--to", "bot", expect=4).stdout == "bot: not sent: HTTP 503\n"
    told = shop.events("notify", "test", expect=4)
    assert told == [{"to": name, "sent": False, "text": "HTTP 503"} for name in ("chat", "bot")]
    assert "known are chat, bot" in shop.deploy("notify", "test", "--to", "nobody", expect=2).stderr
    shop.environ.pop("CHAT_URL")
    assert "CHAT_URL is not set" in shop.deploy("notify", "test", expect=2).stderr
