"""Notices about jobs: which runs are worth one, that a job that goes on failing is no flood, and that none is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployer.app.jobs.runs import run_now, take_over
from deployer.app.operations.notifications import Announcer
from deployer.core.errors import Aborted, StepFailed
from deployer.drivers.notices import Notice, NoticeJob, NotSent
from deployer.store.jobs import JobRun
from tests.clockwork import DAY, Clockwork, to
from tests.notified import CHAT, NOTIFY, Told

OFTEN = {"cron": "*/10 * * * *", "command": ["bin/often"]}
JOBS = {"schedule": {"nightly": {"cron": "0 3 * * *", "command": ["bin/nightly"], "timeout": "10m"}, "often": OFTEN}}


@pytest.fixture
def scene(state: Path) -> Iterator[Told]:
    scene = Told(state)
    with scene.house:
        scene.bring("1.0", manifest=JOBS)
        scene.heard()
        scene.notifier.sent.clear()
        yield scene


def notices(scene: Told, name: str = CHAT) -> list[Notice]:
    scene.heard()
    return scene.notifier.to(name)


def run(scene: Told, job: str, code: int | None) -> None:
    """Run a job now, which ends with this code, if it ends."""
    if code is not None:
        scene.world.jobs.codes[job] = code
    if code == 0:
        run_now(scene.house, "shop", job, "by hand")
        return
    with pytest.raises((StepFailed, Aborted)):
        run_now(scene.house, "shop", job, "by hand")


def test_a_run_that_fails_is_notified_with_job_release_and_code(scene: Told) -> None:
    run(scene, "nightly", 3)
    (notice,) = notices(scene)
    assert (notice.kind, notice.title) == ("job-failed", "shop 1.0: job nightly failed")
    assert notice.text.startswith("nightly of shop (run 1, r1 (1.0)) ended with 3, after 0.0 s")
    assert "`deploy logs --job nightly`" in notice.text
    assert notice.job == NoticeJob("nightly", 1, "failed")
    assert (notice.release, notice.exit, notice.rollout) == (1, 3, 0)
    assert notice.reason == "by hand"
    assert scene.house.store.jobs.owed() == ()


def test_a_run_that_takes_too_long_or_is_lost_is_notified_too(scene: Told) -> None:
    clock, follow = scene.world.clock, scene.world.jobs.follow
    scene.world.jobs.follow = lambda *_: clock.sleep(601)  # type: ignore[method-assign]
    run(scene, "nightly", None)
    scene.world.jobs.follow = follow  # type: ignore[method-assign]
    store = scene.house.store
    lost = store.jobs.begin(JobRun(0, "shop", "often", 1, 0.0, "", "ann", "", clock.now()), None)
    assert lost is not None
    take_over(scene.house, lost)
    assert [n.text.partition(")) ")[2].partition(":")[0] for n in notices(scene)] == ["was stopped", "is lost"]


def test_what_ends_well_or_was_stopped_by_a_person_is_no_news(scene: Told) -> None:
    run(scene, "nightly", 0)
    del scene.world.jobs.codes["nightly"]
    scene.world.jobs.follow = lambda *_: scene.house.stop.asked.set()  # type: ignore[method-assign]
    run(scene, "nightly", None)
    assert scene.house.store.jobs.of("shop", "nightly")[0].outcome == "aborted"
    assert notices(scene) == []


def test_a_job_that_goes_on_failing_is_notified_once_a_day(scene: Told) -> None:
    to(scene, 1)
    for _ in range(5):
        run(scene, "often", 1)
        scene.world.clock.sleep(600)
    assert len(notices(scene)) == 1
    scene.world.clock.sleep(DAY)
    run(scene, "often", 1)
    run(scene, "often", 1)
    assert len(notices(scene)) == 2
    run(scene, "often", 0)
    run(scene, "often", 1)
    assert len(notices(scene)) == 3, "it had worked again"
    run(scene, "nightly", 1)
    assert len(notices(scene)) == 4, "another job"


def test_a_time_that_was_missed_is_notified_at_the_next_look(scene: Told) -> None:
    clockwork = Clockwork(scene)
    to(scene, 2.9)
    clockwork.look()
    scene.world.jobs.codes["often"] = 0
    to(scene, 5.5)
    clockwork.look()
    clockwork.look()
    (notice,) = notices(scene)
    assert (notice.title, notice.by) == ("shop 1.0: job nightly was missed", "schedule")
    assert "nothing ran it at its time" in notice.text


def test_a_scheduled_run_that_fails_is_notified_by_its_scheduler(scene: Told) -> None:
    clockwork = Clockwork(scene)
    to(scene, 2.9)
    clockwork.look()
    scene.world.jobs.codes.update(nightly=7, often=0)
    to(scene, 3)
    clockwork.look()
    (notice,) = notices(scene)  # of run 1 or 2: jobs that are due at the same time begin in any order
    assert notice.job is not None
    assert (notice.job.name, notice.job.outcome, notice.exit, notice.by) == ("nightly", "failed", 7, "schedule")
    clockwork.look()
    assert len(notices(scene)) == 1


def test_what_a_killed_process_owes_the_next_look_sends_once(scene: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Announcer, "report", lambda *_: None)  # it dies here
        run(scene, "nightly", 3)
    assert notices(scene) == []
    (owed,) = scene.house.store.jobs.owed()
    telling = scene.house.store.jobs.notices.telling(owed.number)
    assert telling.try_take()
    clockwork = Clockwork(scene)
    clockwork.look()
    assert notices(scene) == [], "another process is sending it"
    telling.let_go()
    clockwork.look()
    clockwork.look()
    assert [n.job for n in notices(scene)] == [NoticeJob("nightly", 1, "failed")]
    assert scene.house.store.jobs.owed() == ()


def test_a_notice_that_nobody_takes_is_given_up_and_changes_no_outcome(scene: Told) -> None:
    scene.notifier.refuses[CHAT] = NotSent("HTTP 500", again=False)
    run(scene, "nightly", 3)
    scene.heard()
    (failed,) = scene.told("notify.failed")
    assert failed == {"to": CHAT, "about": "job-failed", "text": "HTTP 500"}
    assert scene.house.store.jobs.of("shop", "nightly")[0].outcome == "failed"
    assert scene.house.store.jobs.owed() == ()


def test_who_does_not_want_it_gets_none(state: Path) -> None:
    scene = Told(state)
    to_both: list[dict[str, Any]] = NOTIFY["to"]
    scene.notify = {"to": [{**each, "events": ["done"]} for each in to_both]}
    with scene.house:
        scene.bring("1.0", manifest=JOBS)
        run(scene, "nightly", 3)
        assert scene.heard() == ["done"]
        assert scene.house.store.jobs.owed() == ()
