"""Scheduled jobs, in memory: which release they run, never two at once, once for a due time, and what is recorded."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployer.app import attendance, doctor, operations
from deployer.app.attendance import announced
from deployer.app.instance_logs import job_logs
from deployer.app.jobs.overview import overview
from deployer.app.jobs.runs import run_due, run_now, take_over
from deployer.app.keeper.outlook import unattended
from deployer.app.status import status_of
from deployer.core import cron
from deployer.core.clock import Deadline
from deployer.core.errors import Aborted, DeadlinePassed, Locked, Refused, StepFailed
from deployer.drivers.jobs import JobSpec
from deployer.drivers.ports import Drivers
from deployer.model import SecretText
from deployer.store.jobs import DueTime, JobRun
from deployer.store.sqlite.database import SqliteDatabase
from tests.clockwork import DAY, Clockwork, to
from tests.house import Scene

NIGHTLY = {"cron": "0 3 * * *", "command": ["bin/nightly"], "timeout": "10m", "late": "2h"}
SCHEDULED = {"schedule": {"nightly": NIGHTLY, "often": {"cron": "* * * * *", "command": ["bin/often"]}}}


@pytest.fixture
def scene(state: Path) -> Iterator[Scene]:
    scene = Scene(state)
    scene.deploy("1.0", manifest=SCHEDULED)
    yield scene
    scene.house.store.close()


def outcomes(scene: Scene, job: str = "nightly") -> list[tuple[int, str, int | None]]:
    """Return release, outcome and exit code of the runs of a job, the oldest first."""
    return [(run.release, run.outcome, run.exit) for run in reversed(scene.house.store.jobs.of("shop", job))]


# -- a run that a person asks for


def test_a_run_is_of_the_live_release_and_is_recorded_with_its_output(scene: Scene) -> None:
    scene.world.jobs.codes["nightly"] = 0
    scene.world.jobs.prints["nightly"] = b"one\ntw"
    ending = run_now(scene.house, "shop", "nightly", "to see")
    assert (ending.exit, ending.text) == (0, "nightly of shop (run 1, r1 (1.0)) ended with 0, after 0.0 s")
    assert scene.world.jobs.specs["shop.nightly.1"].release.version == "1.0"
    assert scene.world.jobs.list_all() == (), "nothing of it is left"
    assert [d["text"] for d in scene.told("job.output")] == ["one", "tw"]
    assert job_logs(scene.house, "shop", 5, "nightly").instances[0].lines == ("one", "tw")
    entry = scene.house.store.audit_log.newest(1, "shop")[0]
    assert (entry.action, entry.result, entry.release, entry.reason) == ("run", "done", 1, "to see")


def test_a_run_that_fails_says_with_which_code(scene: Scene) -> None:
    scene.world.jobs.codes["nightly"] = 3
    with pytest.raises(StepFailed, match="ended with 3") as failed:
        run_now(scene.house, "shop", "nightly", "")
    assert failed.value.exit == 4
    assert outcomes(scene) == [(1, "failed", 3)]


def test_a_run_that_cannot_be_started_has_failed_and_says_why(scene: Scene) -> None:
    scene.world.jobs.refuses = "no such program"
    with pytest.raises(StepFailed, match="could not be started: no such program"):
        run_now(scene.house, "shop", "nightly", "")
    assert outcomes(scene) == [(1, "failed", None)]


def test_a_start_whose_response_is_lost_leaves_nothing_that_runs(scene: Scene) -> None:
    jobs, start = scene.world.jobs, scene.world.jobs.start

    def lost(spec: JobSpec, deadline: Deadline) -> None:
        start(spec, deadline)
        raise DeadlinePassed("the engine took longer than 60 s")

    jobs.start = lost  # type: ignore[method-assign]
    with pytest.raises(StepFailed, match="could not be started: the engine took longer"):
        run_now(scene.house, "shop", "nightly", "")
    assert jobs.list_all() == ()


def test_what_the_drivers_refuse_is_no_run(scene: Scene) -> None:
    def refuse(*_: object) -> Drivers:
        raise Refused("the extra docker is missing", "add it")

    scene.house.wire = refuse
    with pytest.raises(Refused, match="the extra docker is missing"):
        run_now(scene.house, "shop", "nightly", "")
    assert scene.house.store.jobs.of("shop") == ()


def test_what_is_not_there_is_refused_and_nothing_is_recorded(scene: Scene) -> None:
    with pytest.raises(Refused, match=r"r1 \(1.0\) has no job nigtly"):
        run_now(scene.house, "shop", "nigtly", "")
    operations.down(scene.house, "shop")
    with pytest.raises(Refused, match="no release of shop is live"):
        run_now(scene.house, "shop", "nightly", "")
    assert scene.house.store.jobs.of("shop") == ()


def test_a_run_is_stopped_when_its_time_is_over(scene: Scene) -> None:
    clock = scene.world.clock
    scene.world.jobs.follow = lambda *_: clock.sleep(601)  # type: ignore[method-assign]
    with pytest.raises(StepFailed, match="its timeout of 10m was over"):
        run_now(scene.house, "shop", "nightly", "")
    assert outcomes(scene) == [(1, "timed-out", None)]
    assert scene.world.jobs.list_all() == ()


def test_a_run_that_a_person_stops_is_aborted(scene: Scene) -> None:
    scene.house.stop.asked.set()
    with pytest.raises(Aborted, match="was stopped by"):
        run_now(scene.house, "shop", "nightly", "")
    assert outcomes(scene) == [(1, "aborted", None)]


def test_secrets_are_in_no_output(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(state)
    secret = {"DB": SecretText("a-long-password")}
    scene.deploy("1.0", manifest={**SCHEDULED, "secrets": {"DB": {"env": "DB"}}}, secrets=lambda: secret)
    scene.world.jobs.codes["nightly"], scene.world.jobs.prints["nightly"] = 0, b"it is a-long-password\n"
    run_now(scene.house, "shop", "nightly", "")
    assert [d["text"] for d in scene.told("job.output")] == ["it is ***"]
    assert scene.house.store.jobs.output(scene.house.store.jobs.of("shop")[0]) == "it is ***\n"
    assert scene.world.jobs.specs["shop.nightly.1"].secrets == secret


# -- never two at once


def test_a_second_run_of_a_job_is_refused_and_another_job_is_not(scene: Scene) -> None:
    scene.world.jobs.codes["often"] = 0
    with scene.house.store.jobs.held("shop", "nightly"):
        with pytest.raises(Locked, match="nightly of shop is running"):
            run_now(scene.house, "shop", "nightly", "")
        assert run_now(scene.house, "shop", "often", "").exit == 0


def test_neither_waits_for_the_lock_of_the_service(scene: Scene) -> None:
    scene.world.jobs.codes["nightly"] = 0
    lock = scene.house.store.locks.take("shop", "a rollout")
    assert run_now(scene.house, "shop", "nightly", "").exit == 0
    scene.house.store.locks.release(lock)
    with scene.house.store.jobs.held("shop", "nightly"):
        assert scene.deploy("2.0", manifest=SCHEDULED).outcome == "done"


def test_the_store_itself_has_no_second_run(scene: Scene) -> None:
    store = scene.house.store
    run = JobRun(0, "shop", "nightly", 1, 0.0, "", "ann", "", 5.0)
    assert store.jobs.begin(run, None)
    with pytest.raises(Refused, match="runs already"):
        store.jobs.begin(run, None)


# -- a process that was killed


def begun(scene: Scene, job: str = "nightly") -> JobRun:
    """Leave a run as a killed process leaves it."""
    store = scene.house.store
    run = store.jobs.begin(JobRun(0, "shop", job, 1, 0.0, "", "ann", "", store.clock.now()), None)
    assert run is not None
    return run


def test_a_run_whose_process_was_killed_is_followed_to_its_end(scene: Scene) -> None:
    run, jobs = begun(scene), scene.world.jobs
    jobs.codes["nightly"] = 7
    release = scene.house.store.releases.get("shop", 1)
    jobs.start(JobSpec(release, "nightly", run.number), None)  # type: ignore[arg-type]
    ended = take_over(scene.house, run)
    assert ended is not None
    assert (ended.outcome, ended.exit) == ("failed", 7)
    assert jobs.list_all() == ()


def test_a_run_of_which_nothing_is_there_is_lost_and_the_next_one_begins(scene: Scene) -> None:
    begun(scene)
    scene.world.jobs.codes["nightly"] = 0
    assert run_now(scene.house, "shop", "nightly", "").exit == 0
    assert outcomes(scene) == [(1, "lost", None), (1, "done", 0)]


def test_doctor_records_what_is_lost_and_removes_what_is_left(scene: Scene) -> None:
    jobs, release = scene.world.jobs, scene.house.store.releases.get("shop", 1)
    lost = begun(scene)
    jobs.codes["often"] = 0
    jobs.start(JobSpec(release, "often", 77), None)  # type: ignore[arg-type]
    found = [f for f in doctor.examine(scene.house, None).findings if f.fix]
    assert [(f.text, f.fix) for f in found if "run" in f.text] == [
        (f"the process that ran nightly (run {lost.number}) is gone", f"record how run {lost.number} ended"),
        ("shop.often.77 is left of a run that is over", "remove shop.often.77"),
    ]
    with scene.house.store.jobs.held("shop", "nightly"):
        assert not [f for f in doctor.examine(scene.house, None).findings if "nightly" in f.text], "somebody has it"
    doctor.fix(scene.house, None)
    assert outcomes(scene) == [(1, "lost", None)]
    assert jobs.list_all() == ()


# -- what is due


@pytest.fixture
def clockwork(scene: Scene) -> Clockwork:
    scene.world.jobs.codes.update(nightly=0, often=0)
    return Clockwork(scene)


def test_a_job_runs_once_at_its_time(scene: Scene, clockwork: Clockwork) -> None:
    to(scene, 2.9)
    assert clockwork.look() == [], "what was due before anybody looked is not made up for"
    to(scene, 3)
    assert sorted(line.partition(" (")[0] for line in clockwork.look()) == ["nightly of shop", "often of shop"]
    assert outcomes(scene) == [(1, "done", 0)]
    assert clockwork.look() == []
    assert scene.house.store.jobs.of("shop", "nightly")[0].due % DAY == 3 * 3600


def test_the_next_run_uses_the_release_that_was_promoted_meanwhile(scene: Scene, clockwork: Clockwork) -> None:
    to(scene, 2.5)
    clockwork.look()
    to(scene, 3)
    clockwork.look()
    scene.deploy("2.0", manifest=SCHEDULED)
    to(scene, 3)
    clockwork.look()
    assert outcomes(scene) == [(1, "done", 0), (2, "done", 0)]
    operations.rollback(scene.house, "shop")
    assert run_now(scene.house, "shop", "nightly", "").exit == 0
    assert outcomes(scene)[-1] == (1, "done", 0), "and after a rollback the one before"


def test_of_two_schedulers_one_runs_it(scene: Scene, clockwork: Clockwork) -> None:
    other = Clockwork(scene)
    to(scene, 2.99)
    clockwork.look(), other.look()
    to(scene, 3)
    both = [threading.Thread(target=each.look) for each in (clockwork, other)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(60)
    assert outcomes(scene) == [(1, "done", 0)]


def test_a_restart_neither_repeats_nor_forgets(scene: Scene, clockwork: Clockwork) -> None:
    to(scene, 2.9)
    clockwork.look()
    to(scene, 3.5)
    Clockwork(scene).look()
    assert outcomes(scene) == [(1, "done", 0)]
    assert Clockwork(scene).look() == []


def test_what_is_missed_for_too_long_is_recorded_and_left_out(scene: Scene, clockwork: Clockwork) -> None:
    to(scene, 2.9)
    clockwork.look()
    to(scene, 5.5)
    clockwork.look()
    assert outcomes(scene) == [(1, "missed", None)]
    assert scene.house.store.jobs.of("shop", "nightly")[0].text == "nothing ran it at its time"


def test_a_due_time_during_a_run_is_skipped_and_several_are_one_record(scene: Scene, clockwork: Clockwork) -> None:
    to(scene, 3.001)
    clockwork.look()
    with scene.house.store.jobs.held("shop", "often"):
        run = begun(scene, "often")
        for _ in range(3):
            scene.world.clock.sleep(60)
            clockwork.look()
    found = scene.house.store.jobs.of("shop", "often")
    assert [(each.outcome, each.times) for each in found] == [("skipped", 3), ("", 1)]
    assert found[1].number == run.number
    assert found[0].text == "the run before was still in progress"


def test_a_holder_that_has_recorded_no_run_yet_makes_nothing_skipped(scene: Scene) -> None:
    """It may be another scheduler, about to begin the run that is due."""
    store = scene.house.store
    since = store.jobs.dealt_with("shop", "often", "k")
    release = store.releases.get("shop", 1)
    with store.jobs.held("shop", "often"):
        run_due(scene.house, release, "often", DueTime(since + 60, "k", since, since + 60))
    assert store.jobs.of("shop") == ()
    assert store.jobs.dealt_with("shop", "often", "k") == since


def test_another_schedule_begins_now(scene: Scene, clockwork: Clockwork) -> None:
    to(scene, 2)
    clockwork.look()
    to(scene, 12)
    changed: dict[str, Any] = {"schedule": {"nightly": {**NIGHTLY, "cron": "0 11 * * *"}}}
    scene.deploy("2.0", manifest=changed)
    clockwork.look()
    assert outcomes(scene) == [], "eleven o'clock was before it had this schedule"
    to(scene, 11)
    clockwork.look()
    assert outcomes(scene) == [(2, "done", 0)]


def test_a_clock_that_was_a_year_ahead_stops_no_job_for_a_year(scene: Scene, clockwork: Clockwork) -> None:
    clockwork.look()
    clock = scene.world.clock
    clock.sleep(365 * DAY)
    clockwork.look()
    clock.ahead -= 365 * DAY
    clockwork.look()
    to(scene, 3)
    clockwork.look()
    assert outcomes(scene)[-1] == (1, "done", 0)


def test_a_job_that_left_the_manifest_runs_no_more(scene: Scene, clockwork: Clockwork) -> None:
    to(scene, 2.9)
    clockwork.look()
    scene.deploy("2.0")
    to(scene, 3)
    assert clockwork.look() == []
    assert overview(scene.house, "shop").jobs == ()


def test_what_is_wrong_with_one_job_is_said_once_and_keeps_no_other_waiting(
    scene: Scene, clockwork: Clockwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    berlin = {"schedule": {**SCHEDULED["schedule"], "nightly": {**NIGHTLY, "timezone": "Europe/Berlin"}}}
    scene.deploy("2.0", manifest=berlin)
    gone = {"Europe/Berlin": "this host has no such timezone"}
    monkeypatch.setattr(cron, "unknown_timezone", lambda name: gone.get(name, ""))
    trouble = "nightly of shop: Europe/Berlin: this host has no such timezone\n  → install tzdata"
    assert [text.split(" (Debian")[0] for text in clockwork.look()] == [trouble]
    scene.world.clock.sleep(60)
    assert clockwork.look() == ["often of shop (run 1"]
    found = status_of(scene.house, "shop")
    assert (found.read, found.jobs) == (True, ())
    assert any("install tzdata" in problem for problem in found.problems)


def test_a_bug_in_a_run_is_said_once_and_it_is_found_again(scene: Scene, clockwork: Clockwork) -> None:
    follow = scene.world.jobs.follow
    clockwork.look()
    to(scene, 3)
    scene.world.jobs.follow = lambda *_: [][1]  # type: ignore[method-assign]
    first = clockwork.look()
    assert sorted(text.split("\n")[0] for text in first) == [
        f"{job} of shop: internal error: IndexError: list index out of range" for job in ("nightly", "often")
    ]
    assert all("Traceback" in text for text in first)
    assert clockwork.look() == [], "tried again, and said no more"
    scene.world.jobs.follow = follow  # type: ignore[method-assign]
    ended = sorted(text.split(" (run")[0] for text in clockwork.look())
    assert ended == ["nightly of shop", "often of shop"], "which of them is run 1 hangs on threads"
    assert outcomes(scene) == [(1, "done", 0)]


def test_a_look_asks_the_store_as_often_however_many_services_there_are(
    scene: Scene, clockwork: Clockwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    rows, next_time = SqliteDatabase.rows, cron.next_time

    def counted(database: SqliteDatabase, query: str, *values: object) -> list[sqlite3.Row]:
        asked.append(query)
        return rows(database, query, *values)

    def worked_out(*given: Any) -> float:
        asked.append("cron")
        return next_time(*given)

    def asks() -> list[str]:
        clockwork.look()
        clockwork.look()
        asked.clear()
        clockwork.look()
        return list(asked)

    monkeypatch.setattr(SqliteDatabase, "rows", counted)
    monkeypatch.setattr(cron, "next_time", worked_out)
    alone = asks()
    for n in range(3):
        scene.deploy("1.0", manifest={"service": f"other{n}", **SCHEDULED})
    assert asks() == alone
    assert "cron" not in alone
    scene.world.clock.sleep(61)
    scene.world.jobs.codes["often"] = 0
    assert len(clockwork.look()) == 4, "and what is due is seen all the same"


def test_the_oldest_runs_are_forgotten(scene: Scene) -> None:
    scene.world.jobs.codes["often"] = 0
    for _ in range(53):
        run_now(scene.house, "shop", "often", "")
    kept = [run.number for run in scene.house.store.jobs.of("shop", "often", 1000)]
    assert kept == list(range(53, 3, -1))


# -- what is shown


def test_the_overview_has_schedule_next_time_and_last_runs(scene: Scene) -> None:
    scene.world.jobs.codes["nightly"] = 3
    with pytest.raises(StepFailed):
        run_now(scene.house, "shop", "nightly", "")
    to(scene, 1)
    job = overview(scene.house, "shop").jobs[0]
    assert (job.name, job.cron, job.timezone, job.command) == ("nightly", "0 3 * * *", "UTC", ("bin/nightly",))
    assert job.next == scene.world.clock.now() + 2 * 3600
    assert [(run.outcome, run.exit, run.version) for run in job.runs] == [("failed", 3, "1.0")]
    assert status_of(scene.house, "shop").jobs == overview(scene.house, "shop").jobs


def test_the_output_of_runs_is_read_only_where_it_is_shown(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.world.jobs.codes["nightly"], scene.world.jobs.prints["nightly"] = 0, b"a long report\n"
    run_now(scene.house, "shop", "nightly", "")
    asked = list[str]()
    rows = SqliteDatabase.rows

    def seen(database: SqliteDatabase, query: str, *values: Any) -> list[sqlite3.Row]:
        asked.append(query)
        return rows(database, query, *values)

    monkeypatch.setattr(SqliteDatabase, "rows", seen)
    status_of(scene.house, "shop")
    overview(scene.house, "shop")
    of_runs = [query for query in asked if "job_runs" in query]
    assert of_runs
    assert not [query for query in of_runs if "*" in query or "output" in query]


def test_it_is_said_when_nothing_runs_the_jobs(scene: Scene) -> None:
    said = "nothing does what `schedule` of shop asks for between deploys: `deploy serve` does (docs/keeper.md)"
    assert unattended(scene.house, "shop") == said
    assert said in status_of(scene.house, "shop").problems
    assert (said, "warn") in [(f.text, f.level) for f in doctor.examine(scene.house, None).findings]
    with announced(scene.house.store, attendance.JOBS):
        scene.world.clock.sleep(3600)
        assert unattended(scene.house, "shop") == "", "a server holds it"
        assert said not in [f.text for f in doctor.examine(scene.house, None).findings]
    assert unattended(scene.house, "shop") == said
    with announced(scene.house.store, attendance.JOBS):
        pass
    assert unattended(scene.house, "shop") == "", "a timer came just now"
    assert overview(scene.house, "shop").attended
