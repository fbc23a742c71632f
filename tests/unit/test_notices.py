"""Notices: what is told of which rollout, to whom, and that nothing of it touches the rollout."""

from __future__ import annotations

import hashlib
import hmac
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployer.app import operations
from deployer.app.operations.notifications import Announcer
from deployer.core import web
from deployer.core.errors import Detached, Exit, NeedsPerson, Refused, StoreFailed
from deployer.core.events import Event
from deployer.drivers.notices import ENDINGS, Account, Kind, Notice, NoticePatience, NoticeSide, NotSent, Outbox, trial
from deployer.drivers.notices.outbox import MOST
from deployer.manifest.models import Recipient
from deployer.manifest.notify import OCCASIONS
from deployer.store.events import Events
from deployer.store.journal import Journal
from deployer.store.rollouts import Rollouts
from tests.documents import REPOSITORY, blocks
from tests.memory import Crash
from tests.notified import BOT, CHAT, KEY, NOTIFY, URL, VALUES, Told
from tests.waiting import within

SECONDS = 10.0


@pytest.fixture
def scene(state: Path) -> Iterator[Told]:
    scene = Told(state)
    with scene.house:
        yield scene


# -- which rollouts tell what


def test_a_good_rollout_tells_its_beginning_and_its_end_with_the_numbers(scene: Told) -> None:
    scene.bring("1.0")
    scene.bring("2.0", "canary", message="faster search")

    assert scene.heard() == ["started", "done", "started", "done"]
    assert scene.heard(BOT).count("verdict") > 2
    *_, started, ended = scene.notifier.to(CHAT)
    assert started.title == "shop 2.0: canary started"
    assert (ended.title, ended.text) == ("shop 2.0 is live", "r2 (2.0) is live")
    assert (ended.rollout, ended.release, ended.version, ended.exit) == (2, 2, "2.0", 0)
    assert (ended.share, ended.verdict, ended.reason) == (10_000, "no regression found", "faster search")
    assert ended.candidate is not None
    assert ended.candidate.requests > 100
    assert ended.candidate.errors == 0
    assert ended.seconds == next(e.data["seconds"] for e in reversed(scene.events) if e.kind == "rollout.ended")
    assert ended.link == "https://deploys.example.com/shop/2?to=2.0"
    assert scene.owed() == []


def test_a_bad_release_tells_its_verdict_and_that_it_was_taken_back(scene: Told) -> None:
    scene.bring("1.0")
    scene.world.worse.add("2.0")
    ending = scene.bring("2.0", "canary")

    assert ending.exit == Exit.VERDICT
    assert scene.heard(BOT) == ["started", "done", "started", "verdict", "reverted"]
    *_, verdict, ended = scene.notifier.to(BOT)
    assert (verdict.title, verdict.exit) == ("shop 2.0: worse", None)
    assert (verdict.share, ended.share) == (500, 0)
    assert (ended.title, ended.exit, ended.verdict) == ("shop 2.0: rolled back", 3, "worse")
    assert ended.text == ending.text
    assert ended.candidate is not None
    assert f"candidate {ended.candidate.errors:,} errors in {ended.candidate.requests:,} requests" in ended.lines[1]
    assert ended.candidate.errors > 0


def test_a_hold_and_what_a_person_makes_of_it(scene: Told) -> None:
    scene.bring("1.0")
    scene.bring("2.0", "canary", options={"percent": 10, "hold": True})
    assert scene.heard() == ["started", "done", "started", "paused"]
    held = scene.notifier.to(CHAT)[-1]
    assert (held.share, held.exit) == (1000, 0)
    assert "`deploy promote`" in held.text
    assert "share 10%" in held.lines[1]

    operations.stop(scene.house, "shop", "not on a Friday")
    assert scene.heard()[4:] == ["reverted"]
    ended = scene.notifier.to(CHAT)[-1]
    assert "not on a Friday" in ended.text
    assert ended.candidate == held.candidate, "what was told before the hold is still known"


def test_a_failed_health_check_tells_of_no_verdict(scene: Told) -> None:
    scene.bring("1.0")
    scene.world.broken.add("2.0")
    scene.bring("2.0", "canary")

    assert scene.heard(BOT)[2:] == ["started", "reverted"]
    ended = scene.notifier.to(BOT)[-1]
    assert (ended.verdict, ended.candidate, ended.exit) == ("", None, 4)


def test_who_is_stuck_is_told(scene: Told) -> None:
    scene.world.failing.add("after.yml")
    scene.bring("1.0", manifest={"hooks": {"after": ["after.yml"]}})

    assert scene.heard() == ["started", "needs-attention"]
    assert scene.notifier.to(CHAT)[-1].title == "shop 1.0: needs a person"


def test_a_rollback_is_told_by_the_newest_settings(scene: Told) -> None:
    scene.notify = {}
    scene.bring("1.0")
    scene.notify = NOTIFY
    scene.bring("2.0")
    assert scene.heard() == ["started", "done"]
    operations.rollback(scene.house, "shop")

    assert scene.heard()[2:] == ["started", "done"]
    assert [n.title for n in scene.notifier.to(CHAT)[2:]] == ["shop 1.0: rollback started", "shop 1.0 is live"]


def test_a_process_that_leaves_a_rollout_says_so(scene: Told) -> None:
    scene.bring("1.0")
    scene.house.stop.detach = True
    scene.house.stop.asked.set()
    with pytest.raises(Detached):
        scene.bring("2.0", "canary")

    assert scene.heard()[2:] == ["started", "detached"]
    assert scene.told("rollout.detached")[0]["exit"] == 6
    scene.house.stop.asked.clear()
    operations.resume(scene.house, "shop")
    assert scene.heard()[4:] == ["done"]


def test_a_store_that_takes_nothing_is_told(scene: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.bring("1.0")

    add_event = Events.add

    def full(*given: Any, **_: Any) -> Event:
        if isinstance(given[-1], Event) and given[-1].kind == "rollout.started":
            return add_event(*given)
        raise StoreFailed("no space left on the disk")

    for table, name in ((Events, "add"), (Journal, "done"), (Rollouts, "turned_back")):
        monkeypatch.setattr(table, name, full)
    with pytest.raises(NeedsPerson):
        scene.bring("2.0", "canary")

    assert scene.heard()[2:] == ["started", "detached"]
    left = scene.notifier.to(CHAT)[-1]
    assert left.exit == 8
    assert "no space left" in left.text


def test_nobody_is_told_where_the_manifest_names_nobody(scene: Told) -> None:
    scene.deploy("1.0")
    assert scene.heard() == []
    assert scene.owed() == []
    assert "notices" not in {thread.name for thread in threading.enumerate()}


def test_what_follows_another_process_tells_nobody_twice(scene: Told, state: Path) -> None:
    scene.bring("1.0")
    scene.heard()
    told = len(scene.notifier.sent)
    operations.follow(scene.house, 1)
    assert "rollout.ended" in scene.kinds()
    scene.heard()
    assert len(scene.notifier.sent) == told


def test_a_change_of_whom_to_tell_is_no_new_release(scene: Told) -> None:
    scene.bring("1.0")
    scene.notify = {"to": NOTIFY["to"][:1]}
    assert "nothing to do" in scene.bring("1.0").text


# -- secrets


def test_only_what_a_recipient_needs_is_given_to_it_and_no_secret_is_told(scene: Told) -> None:
    scene.bring("1.0", message=f"the chat is {URL}")
    scene.heard()

    assert all(set(given) == set(VALUES) for _, _, given in scene.notifier.sent)
    for _, notice, _ in scene.notifier.sent:
        text = json.dumps(notice.to_dict()) + notice.title + "".join(notice.lines)
        assert not any(value in text for value in VALUES.values())
    assert scene.notifier.to(CHAT)[0].reason == "the chat is ***"


def test_secrets_that_are_gone_are_one_line_for_each_notice(scene: Told) -> None:
    scene.bring("1.0")
    scene.heard()
    scene.house.vault.forget("shop", 1)
    scene.world.notifier.refuses = {CHAT: NotSent("there is no value", again=False)}
    settings = scene.house.announcer._settings("shop")

    assert settings.secrets == {}
    assert [r.name for r in settings.to] == [CHAT, BOT]


# -- failures


def quick(scene: Told, seconds: float = SECONDS) -> None:
    """Let attempts follow one another at once."""
    house, patience = scene.house, NoticePatience(seconds, (0.0, 0.0))
    house.announcer = Announcer(house.store, house.vault, scene.notifier, house.sink, scene.world.clock, patience)


def test_a_failure_is_tried_again_then_told_and_changes_nothing(scene: Told) -> None:
    quick(scene)
    scene.notifier.refuses[BOT] = NotSent(f"HTTP 503 from {KEY}")
    ending = scene.bring("1.0")
    heard = scene.heard()

    assert (ending.outcome, ending.exit) == ("done", Exit.DONE)
    assert heard == ["started", "done"], "the other one is told all the same"
    assert scene.notifier.asked.count(BOT) == 6
    failed = scene.told("notify.failed")
    assert failed == [{"to": BOT, "about": about, "text": "HTTP 503 from ***"} for about in ("started", "done")]
    assert scene.owed() == [], "it was given up: nothing is owed"


def test_what_another_attempt_cannot_change_is_given_up_at_once(scene: Told) -> None:
    quick(scene)
    scene.notifier.refuses[BOT] = NotSent("HTTP 404", again=False)
    scene.bring("1.0")
    scene.heard()
    assert scene.notifier.asked.count(BOT) == 2


def test_a_recipient_that_hangs_keeps_nobody_waiting_but_the_end_and_that_not_long(scene: Told) -> None:
    quick(scene, seconds=0.3)
    free, waited_for = threading.Event(), list[str]()

    def before(name: str) -> None:
        if name == BOT:
            free.wait(60)
            waited_for.append(name)

    scene.notifier.before = before
    ending = scene.begin("1.0")
    assert ending.outcome == "done"
    told = ["started", "done"]
    within().until(lambda: [notice.kind for notice in scene.notifier.to(CHAT)] == told, "the other one is told")
    began = time.monotonic()
    heard = scene.heard()
    took = time.monotonic() - began
    assert waited_for == [], "the end does not wait for what hangs"
    free.set()

    assert took > 0.25
    assert heard == told
    failed = scene.told("notify.failed")
    assert [(f["to"], f["about"]) for f in failed] == [(BOT, "started"), (BOT, "done")]
    assert "too long" in failed[0]["text"]


def test_a_bug_in_what_tells_is_not_the_rollouts(scene: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Kind:
        raise ValueError(URL)

    monkeypatch.setattr(Account, "_kind", staticmethod(broken))
    ending = scene.bring("1.0")

    assert ending.outcome == "done"
    assert scene.heard() == []
    (failed,) = scene.told("notify.failed")
    assert failed["text"].startswith("internal error: ValueError: no more")


def test_a_lock_that_cannot_be_taken_stops_nothing(scene: Told) -> None:
    (scene.house.store.folder / "telling.lock").mkdir()
    assert scene.bring("1.0").outcome == "done"
    assert scene.heard() == ["started", "done"]
    assert scene.owed() == []


# -- who died


def die_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be killed when the ending is recorded, and nobody was told."""
    ended = Rollouts.ended

    def killed(*given: Any, **named: Any) -> None:
        ended(*given, **named)
        raise Crash

    monkeypatch.setattr(Rollouts, "ended", killed)


def dead(scene: Told, state: Path, monkeypatch: pytest.MonkeyPatch) -> Told:
    """Let the process die at the end of its second rollout; return the next process, in the same world."""
    scene.bring("1.0")
    scene.heard()
    scene.world.worse.add("2.0")
    with monkeypatch.context() as patch:
        die_after_the_end(patch)
        with pytest.raises(Crash):
            scene.bring("2.0", "canary")
    scene.house.announcer.close()
    assert scene.heard() == ["started", "done", "started"]
    assert scene.owed() == [2]
    return Told(state, scene.world)


def test_an_ending_that_a_dead_process_owes_is_told_by_resume(
    scene: Told, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after = dead(scene, state, monkeypatch)
    with after.house, pytest.raises(Refused, match="no rollout in progress"):
        operations.resume(after.house, "shop")

    assert after.heard() == ["started", "done", "started", "reverted"]
    ended = after.notifier.to(CHAT)[-1]
    assert (ended.rollout, ended.exit, ended.verdict) == (2, 3, "worse")
    assert ended.candidate is not None
    assert ended.candidate.errors > 0
    assert after.owed() == []
    with pytest.raises(Refused):
        operations.resume(after.house, "shop")


def test_or_by_the_next_deploy_before_its_own(scene: Told, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    after = dead(scene, state, monkeypatch)
    with after.house:
        after.bring("3.0")

    assert after.heard()[3:] == ["reverted", "started", "done"]
    assert after.owed() == []


def test_a_rollout_that_is_resumed_tells_its_end_once(
    scene: Told, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.bring("1.0")

    def killed(*_: object, **__: object) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(Rollouts, "promoted", killed)
        with pytest.raises(Crash):
            scene.bring("2.0")
    assert scene.heard() == ["started", "done", "started"]
    operations.resume(scene.house, "shop")
    assert scene.heard() == ["started", "done", "started", "done"]
    assert scene.owed() == []


def test_what_a_process_that_lives_is_telling_is_left_to_it(
    scene: Told, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after = dead(scene, state, monkeypatch)
    code = (
        "import sys, pathlib; from deployer.core.filelock import FileLock;"
        "print(FileLock(pathlib.Path(sys.argv[1]), 2).try_take(), flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(state / "telling.lock")]
    with after.house, subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "True\n"
        assert after.house.store.owed.of("shop") == ()
        with pytest.raises(Refused):
            operations.resume(after.house, "shop")
        assert after.owed() == [2], "it is not ours to tell"
        other.kill()
        other.wait()
        assert after.house.store.owed.of("shop") == (2,), "the kernel knows that nobody tells it now"


def test_nobody_is_owed_the_end_of_what_tells_nobody(scene: Told) -> None:
    scene.notify = {"to": []}
    scene.bring("1.0")
    assert scene.owed() == []


def test_an_ending_is_owed_from_the_transaction_that_records_it(scene: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails in that transaction leaves neither; what was written in it is there with both."""

    def broken(*_: object) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr("deployer.store.rollouts.forget_events", broken)
        with pytest.raises(Crash):
            scene.bring("1.0")
    assert scene.owed() == []
    assert scene.house.store.rollouts.in_progress("shop") is not None


# -- the queue


def notice(kind: Kind = "done", **more: Any) -> Notice:
    return replace(trial("shop", "1.0", 1_700_000_000.0), kind=kind, **more)


def outbox(send: Callable[[Notice], None], **more: Any) -> tuple[Outbox, list[str], list[str]]:
    failed: list[str] = []
    ended: list[str] = []
    return Outbox(send, lambda _n, why: failed.append(why), lambda: ended.append("ended"), **more), failed, ended


def test_an_outbox_sends_in_order_and_ends_once() -> None:
    sent: list[str] = []
    box, failed, ended = outbox(lambda n: sent.append(n.kind))
    for kind in ("started", "verdict", "done"):
        box.put(notice(kind))
    box.close(SECONDS)
    box.close(SECONDS)
    assert (sent, failed, ended) == (["started", "verdict", "done"], [], ["ended"])


def test_an_outbox_without_a_notice_ends_too() -> None:
    box, failed, ended = outbox(lambda _n: None)
    box.close(SECONDS)
    assert (failed, ended) == ([], ["ended"])


def test_an_outbox_has_room_for_so_many_and_no_more() -> None:
    free, begun = threading.Event(), threading.Event()

    def slow(_notice: Notice) -> None:
        begun.set()
        free.wait(SECONDS)

    box, failed, _ = outbox(slow)
    box.put(notice())
    assert begun.wait(SECONDS)
    for _ in range(MOST + 2):
        box.put(notice())
    assert len(failed) == 3
    assert "no room" in failed[0]
    free.set()
    box.close(SECONDS)
    assert len(failed) == 3


def test_an_outbox_does_not_try_again_once_nobody_waits() -> None:
    tried: list[int] = []
    begun = threading.Event()

    def refuse(_notice: Notice) -> None:
        tried.append(1)
        begun.set()
        raise NotSent("HTTP 500")

    box, failed, ended = outbox(refuse, pauses=(3600.0,))
    box.put(notice())
    assert begun.wait(SECONDS)
    box.close(0.05)
    assert (len(tried), len(failed), ended) == (1, 1, ["ended"])


def test_an_outbox_without_a_thread_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    box, failed, ended = outbox(lambda _n: None)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", none_left)
        box.put(notice())
        box.close(SECONDS)
    assert (failed, ended) == (["no thread can be started on this host"], ["ended"])


def test_an_outbox_outlives_a_bug() -> None:
    def bug(_notice: Notice) -> None:
        raise KeyError(KEY)

    box, failed, ended = outbox(bug)
    box.put(notice())
    box.close(SECONDS)
    assert (failed, ended) == (["internal error: KeyError"], ["ended"])


# -- words


@pytest.mark.parametrize("kind", [*OCCASIONS, "test"])
def test_every_kind_has_its_title(kind: Kind) -> None:
    title = notice(kind, strategy="canary", verdict="worse").title
    assert title.startswith("shop 1.0")
    assert len(title) > len("shop 1.0:")


def test_every_ending_is_an_occasion() -> None:
    assert set(OCCASIONS) >= ENDINGS


def test_what_others_wrote_is_one_line_of_bounded_length(scene: Told) -> None:
    scene.bring("1.0", message="a\nb\x1b[31m" + "c" * 5000)
    scene.heard()
    reason = scene.notifier.to(CHAT)[0].reason
    assert reason.startswith("a b[31mccc")
    assert len(reason) <= 600


def test_the_page_shows_the_body_as_it_is() -> None:
    page = REPOSITORY / "docs/notifications.md"
    (shown,) = (json.loads(b.text) for b in blocks(page) if b.language == "json")
    made = Notice(
        "reverted",
        shown["at"],
        "shop",
        shown["text"],
        rollout=17,
        release=42,
        version="2.0",
        strategy="canary",
        by="ann@build",
        reason="faster search",
        share=0,
        verdict="worse",
        candidate=NoticeSide(110, 20),
        stable=NoticeSide(2940, 3),
        seconds=41.2,
        exit=3,
        link="https://deploys.example.com/shop/17",
        id=shown["id"],
    )
    assert made.to_dict() == shown
    assert list(made.to_dict()) == list(shown)
    (chat,) = (b.text for b in blocks(page) if b.language == "")
    assert chat.splitlines() == [made.title, *made.lines]
    listed = [line.split("`")[1] for line in page.read_text().splitlines() if line.startswith("| `") and "yes" in line]
    assert listed == list(Recipient(name="a", apprise="A").events)


def test_the_page_proves_a_signature_as_it_is_made() -> None:
    (code,) = (b.text for b in blocks(REPOSITORY / "docs/notifications.md") if b.language == "python")
    space: dict[str, Any] = {}
    exec(compile(code, "notifications.md", "exec"), space)
    genuine, body, now = space["genuine"], b'{"a": 1}', int(time.time())

    def headers(at: int, made: str) -> dict[str, str]:
        return {"X-Deploy-Timestamp": str(at), "X-Deploy-Signature-256": made}

    assert genuine(b"key", headers(now, web.signature(b"key", now, body)), body)
    assert not genuine(b"other", headers(now, web.signature(b"key", now, body)), body)
    assert not genuine(b"key", headers(now, web.signature(b"key", now, body)), body + b" ")
    assert not genuine(b"key", headers(now, web.signature(b"key", now - 1, body)), body)
    assert not genuine(b"key", headers(now - 400, web.signature(b"key", now - 400, body)), body)
    by_hand = hmac.new(b"key", f"{now}.".encode() + body, hashlib.sha256).hexdigest()
    assert web.signature(b"key", now, body) == f"sha256={by_hand}"


# -- who imports what


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import deployer.emergency.move, deployer.start", "deployer.drivers.notices"),
        ("import deployer.app.operations, deployer.app.wiring", "apprise"),
        ("import deployer.drivers.notify", "requests"),
        ("import deployer.drivers.notify", "apprise"),
    ],
)
def test_nothing_is_imported_before_it_is_needed(code: str, unwanted: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; import sys; sys.exit({unwanted!r} in sys.modules)"], timeout=60, check=False
    )
    assert done.returncode == 0
