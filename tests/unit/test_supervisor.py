"""The supervisor with real processes: start, adopt, restart, stop, and what it never shows."""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deployer.core.clock import Deadline
from deployer.core.errors import DriverFailed, Refused
from deployer.supervisor import ProcessSpec, ProcessStatus, control, ensure_running, pause, read_status, stop
from deployer.supervisor import status as reports
from deployer.supervisor.proc import Process
from tests.waiting import within

ENV = {"PATH": os.defpath}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "program"
    yield place
    stop(place, within())
    left = read_status(place)
    assert left is None or not (left.pid or left.supervisor_pid)


def sleeper(tmp_path: Path, **changes: object) -> ProcessSpec:
    spec = ProcessSpec(("sleep", "600"), str(tmp_path), str(tmp_path / "log"), ENV, grace=15.0)
    return replace(spec, **changes)  # type: ignore[arg-type]


def shell(tmp_path: Path, script: str, **changes: object) -> ProcessSpec:
    return sleeper(tmp_path, argv=("sh", "-c", script), **changes)


def seen(folder: Path) -> ProcessStatus:
    status = read_status(folder)
    assert status is not None
    return status


def wait_for(folder: Path, state: str, restarts: int = 0) -> ProcessStatus:
    found: list[ProcessStatus] = []  # a moment later it may be another

    def is_so() -> bool:
        found.append(seen(folder))
        return found[-1].state == state and found[-1].restarts >= restarts

    within().until(is_so, f"state {state}")
    return found[-1]


def test_a_program_outlives_the_command_that_started_it(folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from deployer.supervisor import *; from deployer.core.clock import *;"
        "spec = ProcessSpec(('sleep', '600'), '/', sys.argv[2], {'PATH': '/bin:/usr/bin'});"
        "ensure_running(pathlib.Path(sys.argv[1]), spec, Deadline.after(SystemClock(), 60))"
    )
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", code, str(folder), str(tmp_path / "log")], os.environ)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

    status = seen(folder)
    assert status.state == "running"
    assert os.getsid(status.pid) == status.pid
    assert os.getsid(status.supervisor_pid) not in (os.getsid(0), status.pid)


def test_running_as_specified_is_left_alone(folder: Path, tmp_path: Path) -> None:
    first = ensure_running(folder, sleeper(tmp_path), within())
    assert ensure_running(folder, sleeper(tmp_path), within()) == first


def test_another_spec_replaces_the_program(folder: Path, tmp_path: Path) -> None:
    first = ensure_running(folder, sleeper(tmp_path), within())
    second = ensure_running(folder, sleeper(tmp_path, argv=("sleep", "601")), within())
    assert second.pid != first.pid
    assert Process.of(first.pid) is None


def test_many_callers_at_once_start_one_program(folder: Path, tmp_path: Path) -> None:
    results: list[ProcessStatus] = []
    callers = [
        threading.Thread(target=lambda: results.append(ensure_running(folder, sleeper(tmp_path), within(20))))
        for _ in range(6)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len({(s.pid, s.supervisor_pid) for s in results}) == 1
    assert len(results) == 6


def test_a_killed_program_is_started_again_at_once(folder: Path, tmp_path: Path) -> None:
    first = ensure_running(folder, sleeper(tmp_path), within())
    os.kill(first.pid, signal.SIGKILL)
    second = wait_for(folder, "running", restarts=1)
    assert second.pid != first.pid
    assert second.exit_code == -signal.SIGKILL
    assert second.started_at - first.started_at < 20  # its pauses: test_supervisor_parts.py


def test_a_crash_loop_is_visible_and_slows_down(folder: Path, tmp_path: Path) -> None:
    ensure_running(folder, shell(tmp_path, "echo tried; exit 7"), within())
    status = wait_for(folder, "exited", restarts=3)
    assert status.exit_code == 7
    assert status.supervisor_pid
    # 0 + 0.1 + 0.2 s lie between the first four starts: far from a busy loop
    tried = (tmp_path / "log").read_text().count("tried")
    assert tried <= seen(folder).restarts + 2


def test_a_killed_supervisor_leaves_its_program_to_the_next_one(folder: Path, tmp_path: Path) -> None:
    first = ensure_running(folder, sleeper(tmp_path), within())
    os.kill(first.supervisor_pid, signal.SIGKILL)
    within().until(lambda: not seen(folder).supervisor_pid, "the supervisor's end")
    assert seen(folder).state == "running"

    second = ensure_running(folder, sleeper(tmp_path), within())
    assert (second.pid, second.pid_started) == (first.pid, first.pid_started)
    assert second.supervisor_pid not in (0, first.supervisor_pid)

    os.kill(first.pid, signal.SIGKILL)  # the end of an adopted program is noticed as well
    third = wait_for(folder, "running", restarts=1)
    assert third.pid != first.pid
    assert third.exit_code is None


def test_an_orphan_of_another_spec_is_replaced(folder: Path, tmp_path: Path) -> None:
    first = ensure_running(folder, sleeper(tmp_path), within())
    os.kill(first.supervisor_pid, signal.SIGKILL)
    within().until(lambda: not seen(folder).supervisor_pid, "the supervisor's end")
    second = ensure_running(folder, sleeper(tmp_path, argv=("sleep", "601")), within())
    assert second.pid != first.pid
    assert Process.of(first.pid) is None


def test_stop_lets_the_program_finish(folder: Path, tmp_path: Path) -> None:
    script = "trap 'echo ended well; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    ensure_running(folder, shell(tmp_path, script), within())
    within().until(lambda: "up" in (tmp_path / "log").read_text(), "the program's first line")
    stop(folder, within())
    status = seen(folder)
    assert (status.state, status.pid, status.supervisor_pid, status.exit_code) == ("stopped", 0, 0, 0)
    assert "ended well" in (tmp_path / "log").read_text()


def test_stop_uses_the_signal_of_the_spec(folder: Path, tmp_path: Path) -> None:
    ensure_running(folder, sleeper(tmp_path, stop_signal="SIGUSR1"), within())
    stop(folder, within())
    assert seen(folder).exit_code == -signal.SIGUSR1


@pytest.mark.parametrize(("grace", "seconds"), [(0.3, 10.0), (60.0, 0.3)], ids=["at the grace", "at the deadline"])
def test_a_deaf_program_is_killed_with_its_group(folder: Path, tmp_path: Path, grace: float, seconds: float) -> None:
    script = "trap '' TERM; sleep 600 & echo $!; wait; sleep 600"
    status = ensure_running(folder, shell(tmp_path, script, grace=grace), within())
    within().until(lambda: "\n" in (tmp_path / "log").read_text(), "the pid of the grandchild")
    grandchild = int((tmp_path / "log").read_text())
    stop(folder, within(seconds))
    assert Process.of(status.pid) is None
    within().until(lambda: Process.of(grandchild) is None, "the end of the grandchild")


def test_stop_ends_an_orphan(folder: Path, tmp_path: Path) -> None:
    status = ensure_running(folder, sleeper(tmp_path), within())
    os.kill(status.supervisor_pid, signal.SIGKILL)
    stop(folder, within())
    assert seen(folder).state == "stopped"
    assert Process.of(status.pid) is None


def test_stop_is_idempotent(folder: Path, tmp_path: Path) -> None:
    stop(folder, within())
    ensure_running(folder, sleeper(tmp_path), within())
    stop(folder, within())
    stop(folder, within())
    assert seen(folder).state == "stopped"


def test_a_stopped_program_can_be_started_again(folder: Path, tmp_path: Path) -> None:
    ensure_running(folder, sleeper(tmp_path), within())
    stop(folder, within())
    assert ensure_running(folder, sleeper(tmp_path), within()).state == "running"


def test_sigterm_to_the_supervisor_ends_both(folder: Path, tmp_path: Path) -> None:
    status = ensure_running(folder, sleeper(tmp_path), within())
    os.kill(status.supervisor_pid, signal.SIGTERM)
    assert wait_for(folder, "stopped").pid == 0


def test_without_restart_the_end_is_the_end(folder: Path, tmp_path: Path) -> None:
    ensure_running(folder, shell(tmp_path, "exit 3", restart=False), within())
    within().until(lambda: not seen(folder).supervisor_pid, "the supervisor's end")
    assert (seen(folder).state, seen(folder).exit_code, seen(folder).restarts) == ("exited", 3, 0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"argv": ("/no/such/program",)}, "/no/such/program: No such file"),
        ({"cwd": "/no/such/folder"}, "/no/such/folder: No such file"),
        ({"argv": ("/etc/hostname",)}, "Permission denied"),
    ],
)
def test_what_cannot_run_is_refused_and_leaves_nothing(
    folder: Path, tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(DriverFailed, match=words):
        ensure_running(folder, sleeper(tmp_path, **changes), within())
    assert (seen(folder).pid, seen(folder).supervisor_pid) == (0, 0)


def test_what_cannot_run_is_refused_though_it_is_tried_again_at_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled = control._settled

    def and_started_again(folder: Path, deadline: Deadline) -> ProcessStatus | None:
        status = settled(folder, deadline)
        if status is not None:
            reports.save(folder, replace(status, state="starting", error=""))
        return status

    monkeypatch.setattr(control, "_settled", and_started_again)
    with pytest.raises(DriverFailed, match="No such file"):
        ensure_running(folder, sleeper(tmp_path, argv=("/no/such/program",)), within())


def test_an_empty_argv_and_an_unknown_signal_are_refused() -> None:
    with pytest.raises(Refused, match="argv is empty"):
        ProcessSpec((), "/", "/dev/null")
    with pytest.raises(Refused, match="SIGNONE"):
        ProcessSpec(("true",), "/", "/dev/null", stop_signal="SIGNONE")


def test_secrets_in_the_environment_stay_private(folder: Path, tmp_path: Path) -> None:
    spec = sleeper(tmp_path, env={**ENV, "PASSWORD": "hunter2"})
    status = ensure_running(folder, spec, within())
    assert "hunter2" not in repr(spec)
    assert "hunter2" not in (folder / "status.json").read_text()
    for pid in (status.pid, status.supervisor_pid):
        assert b"hunter2" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert b"hunter2" not in Path(f"/proc/{status.supervisor_pid}/environ").read_bytes()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "spec.json").stat().st_mode) == 0o600


def test_the_environment_and_the_descriptors_are_only_those_of_the_spec(folder: Path, tmp_path: Path) -> None:
    status = ensure_running(folder, sleeper(tmp_path), within())
    assert Path(f"/proc/{status.pid}/environ").read_bytes() == b"PATH=" + os.defpath.encode() + b"\0"
    assert sorted(fd.name for fd in Path(f"/proc/{status.pid}/fd").iterdir()) == ["0", "1", "2"]


def test_another_program_with_the_same_pid_is_not_taken_for_ours(folder: Path, tmp_path: Path) -> None:
    ensure_running(folder, sleeper(tmp_path), within())
    stop(folder, within())
    report = json.loads((folder / "status.json").read_text())
    report.update(pid=os.getpid(), pid_started=1, supervisor_pid=os.getpid(), supervisor_started=1, state="running")
    (folder / "status.json").write_text(json.dumps(report))
    assert (seen(folder).state, seen(folder).pid, seen(folder).supervisor_pid) == ("exited", 0, 0)
    stop(folder, within())  # would end this test otherwise


def test_the_supervisor_is_small(folder: Path, tmp_path: Path) -> None:
    status = ensure_running(folder, sleeper(tmp_path), within())
    memory = Path(f"/proc/{status.supervisor_pid}/status").read_text()
    resident = next(int(line.split()[1]) for line in memory.splitlines() if line.startswith("VmRSS"))
    assert resident < 24 * 1024, f"the supervisor uses {resident} KiB"


def waits(tmp_path: Path, folder: Path) -> tuple[ProcessSpec, Process]:
    """Start a program that says goodbye when it is asked to end, and has a child; return its spec and the child."""
    script = f"trap 'echo bye > {tmp_path}/bye; exit 0' TERM; sleep 600 & echo $! > {tmp_path}/child; wait; wait"
    spec = shell(tmp_path, script)
    ensure_running(folder, spec, within())
    within().until(lambda: (tmp_path / "child").exists() and bool((tmp_path / "child").read_text()), "it has a child")
    child = Process.of(int((tmp_path / "child").read_text()))
    assert child is not None
    return spec, child


def test_what_is_paused_stays_in_memory_with_all_its_group_until_it_is_wanted(folder: Path, tmp_path: Path) -> None:
    spec, child = waits(tmp_path, folder)
    before = seen(folder)
    for _ in range(2):  # one that is paused already stays so
        pause(folder, within())
        assert (seen(folder).state, seen(folder).program) == ("paused", before.program)
        within().until(
            child.paused, "its child is paused"
        )  # each process of a group sees the signal when it is its turn
    again = ensure_running(folder, spec, within())
    assert (again.state, again.program) == ("running", before.program)
    within().until(lambda: not child.paused(), "its child goes on")


@pytest.mark.parametrize("orphan", [False, True])
def test_what_is_paused_sees_the_signal_that_ends_it(folder: Path, tmp_path: Path, *, orphan: bool) -> None:
    waits(tmp_path, folder)
    pause(folder, within())
    if orphan:
        os.kill(seen(folder).supervisor_pid, signal.SIGKILL)
        within().until(lambda: not seen(folder).supervisor_pid, "the supervisor ends")
        assert seen(folder).state == "paused"
    stop(folder, within(20))
    assert (tmp_path / "bye").read_text() == "bye\n"


def test_what_is_paused_outlives_its_supervisor_and_goes_on_with_another(folder: Path, tmp_path: Path) -> None:
    spec, _ = waits(tmp_path, folder)
    pause(folder, within())
    before = seen(folder)
    os.kill(before.supervisor_pid, signal.SIGKILL)
    within().until(lambda: not seen(folder).supervisor_pid, "the supervisor ends")
    again = ensure_running(folder, spec, within())
    assert (again.state, again.program) == ("running", before.program)
    assert again.supervisor_pid


def test_what_was_killed_while_it_was_paused_is_started_when_it_is_wanted(folder: Path, tmp_path: Path) -> None:
    spec, _ = waits(tmp_path, folder)
    pause(folder, within())
    before = seen(folder)
    os.kill(before.pid, signal.SIGKILL)
    assert not wait_for(folder, "stopped").supervisor_pid, "not again by its supervisor, which ends"
    again = ensure_running(folder, spec, within())
    assert again.state == "running"
    assert again.program != before.program


def test_what_has_just_ended_is_not_started_again_when_it_is_paused(folder: Path, tmp_path: Path) -> None:
    ensure_running(folder, shell(tmp_path, "exit 3"), within())
    wait_for(folder, "exited")
    pause(folder, within())
    assert (seen(folder).state, seen(folder).supervisor_pid) == ("stopped", 0)
