"""Secrets: where they come from, what refuses them, and that no message shows one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from deployer.app.releases import config_hash
from deployer.core.errors import ManifestRefused, Problem
from deployer.drivers.runtime.environ import chosen_secrets, environment
from deployer.manifest.models import Manifest
from deployer.manifest.secrets import MAX_BYTES, MAX_VARIABLE, resolve_secrets
from deployer.model import InstanceSpec, Release
from tests.waiting import within

ENVIRON = {"PATH": os.environ["PATH"]}


def manifest(**secrets: Any) -> Manifest:
    return Manifest.model_validate({"service": "shop", "image": "shop", "port": 80, "secrets": secrets})


def value(folder: Path, source: dict[str, Any], **environ: str) -> str:
    return resolve_secrets(manifest(S=source), folder, {**ENVIRON, **environ})["S"].reveal()


def refused(folder: Path, source: dict[str, Any], seconds: float = 10.0, **environ: str) -> Problem:
    with pytest.raises(ManifestRefused) as error:
        resolve_secrets(manifest(S=source), folder, {**ENVIRON, **environ}, seconds=seconds)
    (problem,) = error.value.problems
    return problem


def shell(script: str) -> dict[str, Any]:
    return {"command": ["sh", "-c", script]}


def test_each_provider_gives_its_value(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from a file\n")

    assert value(tmp_path, {"env": "A"}, A=" from the environment\n") == " from the environment\n"
    assert value(tmp_path, {"file": "key"}) == "from a file"
    assert value(tmp_path, {"file": str(tmp_path / "key")}) == "from a file"
    assert value(tmp_path, shell("cat key; echo on stderr >&2")) == "from a file"


def test_a_secret_for_nobody_is_no_part_of_what_runs(tmp_path: Path) -> None:
    secrets = {"TOKEN": {"env": "TOKEN", "deliver": "none"}, "KEY": {"env": "KEY"}}
    with_token, without = manifest(**secrets), manifest(KEY=secrets["KEY"])

    def made(wanted: Manifest, **environ: str) -> tuple[str, InstanceSpec]:
        values = resolve_secrets(wanted, tmp_path, environ)
        release = Release("shop", 1, "1", "shop", "sha256:1", wanted, "")
        return config_hash("sha256:1", wanted, values, "k"), InstanceSpec(release, "blue", 1, 1, "127.0.0.1:1", values)

    (one, spec), (two, _) = made(with_token, KEY="k", TOKEN="a"), made(with_token, KEY="k", TOKEN="b")

    assert one == two == made(without, KEY="k")[0]
    assert one != made(with_token, KEY="other", TOKEN="a")[0]
    assert chosen_secrets(spec, "file") == {"KEY": "k"}
    assert "TOKEN" not in str(environment(spec, "/run/secrets"))


def test_a_secret_for_nobody_sets_no_variable() -> None:
    given = {"secrets": {"TOKEN": {"env": "TOKEN", "deliver": "none"}}, "env": {"TOKEN": "x", "TOKEN_FILE": "y"}}

    assert Manifest.model_validate({"service": "shop", "image": "shop", "port": 80, **given})


def test_only_one_newline_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"two lines\r\n\r\n")

    assert value(tmp_path, {"file": "key"}) == "two lines\r\n"
    assert value(tmp_path, shell("printf 'a\\n\\n'")) == "a\n"


def test_a_command_sees_the_environment_it_is_given_and_no_input(tmp_path: Path) -> None:
    assert value(tmp_path, shell('echo "$A"; readlink /proc/self/fd/0'), A="x") == "x\n/dev/null"


def test_values_do_not_show_themselves(tmp_path: Path) -> None:
    values = resolve_secrets(manifest(S={"env": "A"}), tmp_path, {"A": "hunter2"})

    assert "hunter2" not in f"{values!r} {values['S']}"


def test_all_failures_are_told_at_once_with_their_lines(tmp_path: Path) -> None:
    wanted = manifest(A={"env": "A"}, B={"file": "b"}, C=shell("exit 3"), D={"env": "D"})

    with pytest.raises(ManifestRefused) as error:
        resolve_secrets(wanted, tmp_path, {**ENVIRON, "D": "d"}, where=lambda path: f"deploy.yml:{len(path)}")

    assert [(p.where, p.path) for p in error.value.problems] == [
        ("deploy.yml:9", "secrets.A"),
        ("deploy.yml:9", "secrets.B"),
        ("deploy.yml:9", "secrets.C"),
    ]


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ({"env": "NOT_SET"}, "the environment variable NOT_SET is not set"),
        ({"env": "EMPTY"}, "the value is empty"),
        ({"file": "missing"}, "missing is not there"),
        ({"file": "."}, "is not a file"),
        ({"file": "empty"}, "the value is empty"),
        ({"file": "binary"}, "the value is not UTF-8 text"),
        ({"file": "nul"}, "the value has a NUL character in it"),
        ({"file": "large"}, "the value is larger than 512 KiB"),
        ({"command": ["no-such-program-anywhere"]}, "`no-such-program-anywhere` cannot be started: No such file"),
        (shell("true"), "the value is empty"),
        (shell("echo hunter2; echo no such entry >&2; exit 3"), "`sh` failed with exit code 3"),
        (shell("kill -9 $$"), "`sh` failed with signal 9"),
        (shell("cat /dev/zero"), "the command printed more than 512 KiB"),
    ],
)
def test_what_gives_no_value_is_refused(tmp_path: Path, source: dict[str, Any], told: str) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "nul").write_bytes(b"a\0b")
    (tmp_path / "large").write_bytes(b"x" * (MAX_BYTES + 1))

    assert told in refused(tmp_path, source, EMPTY="").message


def test_nothing_that_a_command_says_is_shown(tmp_path: Path) -> None:
    problem = refused(tmp_path, shell("echo token hunter2 is not valid >&2; exit 1"))

    assert (problem.message, problem.hint) == (
        "`sh` failed with exit code 1",
        "run it by hand: its output is not shown here, as it may contain the secret",
    )


def test_a_value_too_large_for_a_variable_is_refused(tmp_path: Path) -> None:
    (tmp_path / "large").write_text("x" * (MAX_VARIABLE - len("S=\0")))
    assert len(value(tmp_path, {"file": "large", "deliver": "env"})) == MAX_VARIABLE - 3

    (tmp_path / "large").write_text("x" * (MAX_VARIABLE - len("S=")))
    assert "larger than 128 KiB" in refused(tmp_path, {"file": "large", "deliver": "env"}).message
    assert value(tmp_path, {"file": "large"})


def test_a_value_may_have_several_lines(tmp_path: Path) -> None:
    key = "-----BEGIN KEY-----\nabc\n-----END KEY-----"
    (tmp_path / "key").write_text(f"{key}\n")

    assert value(tmp_path, {"file": "key"}) == key
    assert value(tmp_path, {"env": "K"}, K=f"{key}\n") == f"{key}\n"


def test_a_command_that_hangs_is_ended_with_its_helpers(tmp_path: Path) -> None:
    patience = within()

    # The helper keeps the pipes open and would outlive its parent by far.
    problem = refused(tmp_path, shell("sleep 600 & echo $! > pid; sleep 600"), seconds=0.5)

    assert problem.message == "`sh` did not end within 0.5 s"
    assert not patience.passed()
    pid = int((tmp_path / "pid").read_text())
    within().until(lambda: has_ended(pid), "the helper ends")


def has_ended(pid: int) -> bool:
    """Return whether a process of somebody else is gone, or a zombie that nobody collects."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
