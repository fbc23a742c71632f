"""What comes back after a boot: the unit that starts it, what is said where it is missing, and what is started."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployer.core.errors import Refused
from deployer.supervisor import ProcessSpec, ensure_running, read_status, revive, stop, unit
from tests.waiting import within


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Return a state folder with a program that was supervised."""
    folder = tmp_path / "state"
    (folder / "processes" / "shop-r1-1").mkdir(parents=True)
    (folder / "processes" / "shop-r1-1" / "spec.json").write_text("{}")
    return folder


@pytest.fixture
def units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of units of a host that runs systemd."""
    folder = tmp_path / "units"
    (folder / f"{unit.TARGET}.wants").mkdir(parents=True)
    monkeypatch.setattr(unit, "UNITS", folder)
    monkeypatch.setattr(unit, "RUNS", folder)
    return folder


def written(state: Path, text: str) -> Path:
    file = unit.file_of(state)
    file.write_text(text)
    return file


def test_a_unit_that_is_whole_is_no_trouble(state: Path, units: Path) -> None:
    assert unit.trouble(state) == f"after a reboot nothing starts the proxy and the processes of {state}"
    file = written(state, unit.text_of(state))
    assert unit.trouble(state) == f"{file.name} is not enabled"
    (units / f"{unit.TARGET}.wants" / file.name).symlink_to(file)
    assert unit.trouble(state) == ""
    written(state, unit.text_of(state).replace("oneshot", "simple"))
    assert unit.trouble(state) == f"{file} is not what this version writes for {state}"


def test_without_systemd_or_anything_supervised_nothing_is_said(
    state: Path, units: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    assert unit.trouble(tmp_path / "other") == ""
    monkeypatch.setattr(unit, "RUNS", tmp_path / "nowhere")
    assert unit.trouble(state) == ""
    with pytest.raises(Refused, match="does not run systemd") as refused:
        unit.install(state)
    assert (
        f"-m deployer.supervisor.revive {state}/proxy/process {state}/proxy/waker {state}/processes/*"
        in refused.value.hint
    )


def test_it_runs_as_the_owner_and_keeps_nothing_open(state: Path) -> None:
    text = unit.text_of(state)
    assert f"RequiresMountsFor={state}\n" in text
    assert "OOMPolicy=continue\n" in text
    assert unit.file_of(state).name.startswith("deployer-")
    if os.geteuid() == 0:
        os.chown(state, 65534, 65534)
        assert "User=nobody\n" in unit.text_of(state)
        os.chown(state, 54321, 54321)
        assert "User=54321\n" in unit.text_of(state)


def test_a_path_that_would_be_read_otherwise_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "a %h b"
    folder.mkdir()
    with pytest.raises(Refused, match="cannot be written into a unit"):
        unit.text_of(folder)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "processes" / "sleeper"
    yield place
    stop(place, within())


def test_what_was_supervised_is_supervised_again_and_what_runs_is_left_alone(folder: Path, tmp_path: Path) -> None:
    spec = ProcessSpec(("sleep", "600"), str(tmp_path), str(tmp_path / "log"), {"PATH": os.defpath}, grace=2.0)
    first = ensure_running(folder, spec, within())
    (tmp_path / "processes" / "half").mkdir()
    pattern = str(tmp_path / "processes" / "*")
    assert revive.main([pattern]) == 0
    assert read_status(folder) == first
    os.kill(first.supervisor_pid, signal.SIGTERM)  # as a shutdown does
    within().until(lambda: getattr(read_status(folder), "state", "") == "stopped", "it has ended")
    assert revive.main([str(tmp_path / "nowhere"), pattern]) == 0
    again = read_status(folder)
    assert again is not None
    assert again.state == "running"
    assert again.pid not in {0, first.pid}


def test_one_that_cannot_start_is_named_and_keeps_no_other_down(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = ProcessSpec(("sleep", "600"), str(tmp_path), str(tmp_path / "log"), {"PATH": os.defpath}, grace=2.0)
    ensure_running(folder, spec, within())
    stop(folder, within())
    broken = tmp_path / "processes" / "broken"
    broken.mkdir()
    (broken / "spec.json").write_text("{")
    assert revive.main([str(tmp_path / "processes" / "*")]) == 1
    assert capsys.readouterr().err.startswith("broken: ")
    status = read_status(folder)
    assert status is not None
    assert status.state == "running"
