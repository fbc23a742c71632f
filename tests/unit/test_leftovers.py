"""What a test run leaves behind is found, named and removed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "leftovers.py"


@pytest.fixture
def env(state: Path) -> dict[str, str]:
    """An environment with its own mark, and no engine."""
    return {**os.environ, "DEPLOYER_TEST_RUN": state.name, "DOCKER_HOST": f"unix://{state}/none.sock"}


def after(state: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    (state / "before.json").write_text("{}")
    command = [sys.executable, str(SCRIPT), "after", str(state / "before.json")]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)


def test_a_process_of_the_run_is_found_and_ended(state: Path, env: dict[str, str]) -> None:
    with subprocess.Popen(["sleep", "60"], env=env, start_new_session=True) as process:
        done = after(state, env)
        assert process.wait(60) == -9
    assert done.returncode == 1
    assert done.stderr == f"left behind: process {process.pid}: sleep 60\n"


def test_processes_of_others_are_left_alone(state: Path, env: dict[str, str]) -> None:
    with subprocess.Popen(["sleep", "60"], env={**env, "DEPLOYER_TEST_RUN": "another"}) as process:
        try:
            done = after(state, env)
            assert process.poll() is None
        finally:
            process.kill()
    assert (done.returncode, done.stderr) == (0, "")
