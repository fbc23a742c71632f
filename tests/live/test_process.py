"""Runtime `process` with real processes: snapshots, supervisors, and what it refuses to pretend."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployer.core.errors import DeadlinePassed, DriverFailed, Refused
from deployer.drivers.runtime.artifacts import KIND
from deployer.drivers.runtime.process import ProcessRuntime
from deployer.model import Instance
from deployer.supervisor import ProcessStatus, read_status
from tests.conformance.runtimes import ProcessBench, get, silent, wait_until_it_answers
from tests.waiting import within


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[ProcessBench]:
    made = ProcessBench(tmp_path)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def runtime(bench: ProcessBench) -> ProcessRuntime:
    assert isinstance(bench.runtime, ProcessRuntime)
    return bench.runtime


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a small directory to deploy."""
    folder = tmp_path / "site"
    (folder / "pages").mkdir(parents=True)
    (folder / "pages" / "index.html").write_text("hello")
    (folder / "serve").write_text("#!/bin/sh\n")
    (folder / "serve").chmod(0o755)
    (folder / "latest").symlink_to("pages/index.html")
    return folder


def status_of(bench: ProcessBench, instance: Instance) -> ProcessStatus:
    status = read_status(bench.folder / "first" / "processes" / instance.name)
    assert status is not None
    return status


def resolve(bench: ProcessBench, source: Path, **settings: Any) -> str:
    manifest = bench.manifest("1.0", **{"command": ["./serve"], **settings})
    return bench.runtime.resolve(manifest, str(source), within(), silent).id


def snapshot(bench: ProcessBench, identity: str) -> Path:
    return bench.folder / "first" / "artifacts" / bench.service / identity.removeprefix(KIND)


def test_a_snapshot_is_the_whole_directory_with_protected_files(bench: ProcessBench, source: Path) -> None:
    copy = snapshot(bench, resolve(bench, source))
    assert (copy / "pages" / "index.html").read_text() == "hello"
    assert (copy / "latest").readlink() == Path("pages/index.html")
    modes = {name: stat.S_IMODE((copy / name).stat().st_mode) for name in ("serve", "pages/index.html")}
    assert modes == {"serve": 0o555, "pages/index.html": 0o444}
    assert stat.S_IMODE(copy.parent.stat().st_mode) == 0o700


def test_the_name_is_the_content_and_nothing_else(bench: ProcessBench, source: Path) -> None:
    first = resolve(bench, source)
    for path in source.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    (source / "pages" / "index.html").chmod(0o600)
    (source / ".git").mkdir()
    (source / ".git" / "HEAD").write_text("ref")
    (source / "pages" / "__pycache__").mkdir()
    assert resolve(bench, source) == first


def _rename(source: Path) -> None:
    (source / "pages").rename(source / "sites")
    (source / "latest").unlink()
    (source / "latest").symlink_to("pages/index.html")


@pytest.mark.parametrize(
    "change",
    [
        lambda source: (source / "pages" / "index.html").write_text("hullo"),
        lambda source: (source / "pages" / "index.html").chmod(0o755),
        lambda source: (source / "pages" / "empty").mkdir(),
        lambda source: (source / "latest").unlink(),
        _rename,
    ],
    ids=["bytes", "executable", "folder", "link", "name"],
)
def test_every_change_that_matters_has_another_name(bench: ProcessBench, source: Path, change: Any) -> None:
    first = resolve(bench, source)
    change(source)
    assert resolve(bench, source) != first


def test_our_own_state_in_the_directory_is_left_out(bench: ProcessBench, source: Path) -> None:
    inner = ProcessRuntime(source / ".deploy", bench.runtime._clock, "inner")  # type: ignore[attr-defined]
    manifest = bench.manifest("1.0", command=["./serve"])
    first = inner.resolve(manifest, str(source), within(), silent).id
    assert inner.resolve(manifest, str(source), within(), silent).id == first
    assert not list((source / ".deploy").rglob(".half-*"))


def test_a_single_program_can_be_deployed(bench: ProcessBench, source: Path) -> None:
    copy = snapshot(bench, resolve(bench, source / "serve"))
    assert [path.name for path in copy.iterdir()] == ["serve"]


def test_what_is_no_file_is_refused(bench: ProcessBench, source: Path) -> None:
    os.mkfifo(source / "pipe")
    with pytest.raises(Refused, match="pipe is neither a file, a folder nor a link"):
        resolve(bench, source)


def test_half_made_copies_of_yesterday_are_swept(bench: ProcessBench, source: Path) -> None:
    folder = bench.folder / "first" / "artifacts" / bench.service
    for name, age in ((".half-old", 90_000), (".half-fresh", 60)):
        (folder / name).mkdir(parents=True)
        os.utime(folder / name, (time.time() - age,) * 2)
    resolve(bench, source)
    assert [path.name for path in folder.glob(".half-*")] == [".half-fresh"]


def test_a_copy_ends_at_its_deadline_and_leaves_nothing(bench: ProcessBench, source: Path) -> None:
    manifest = bench.manifest("1.0", command=["./serve"])
    with pytest.raises(DeadlinePassed, match="copy"):
        bench.runtime.resolve(manifest, str(source), within(0), silent)
    assert not list((bench.folder / "first" / "artifacts").glob("*/*"))


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("./nothing", "nothing is not among the files"),
        ("./pages/index.html", "is not executable"),
        ("no-such-program", "no-such-program is not on PATH"),
    ],
)
def test_a_program_that_is_not_there_is_refused(bench: ProcessBench, source: Path, program: str, words: str) -> None:
    with pytest.raises(Refused, match=words):
        resolve(bench, source, command=[program])
    assert not (bench.folder / "first").exists()


def test_a_change_of_the_directory_does_not_reach_what_runs(bench: ProcessBench) -> None:
    release = bench.release(version="1.0")
    shutil.rmtree(release.image)
    instance = bench.runtime.ensure(bench.spec(release), within())
    wait_until_it_answers(instance)


def test_a_program_that_cannot_start_leaves_nothing(bench: ProcessBench) -> None:
    release = bench.release()
    broken = release.manifest.model_copy(update={"command": ("/no/such/program",)})
    with pytest.raises(DriverFailed, match="/no/such/program: No such file"):
        bench.runtime.ensure(bench.spec(replace(release, manifest=broken)), within())
    assert list((bench.folder / "first" / "processes").iterdir()) == []


def test_files_that_are_gone_are_named(bench: ProcessBench, runtime: ProcessRuntime) -> None:
    release = bench.release()
    runtime.prune([], [release])
    with pytest.raises(DriverFailed, match=r"the files of .* are gone"):
        runtime.ensure(bench.spec(release), within())


def test_secrets_are_private_files(bench: ProcessBench) -> None:
    release = bench.release(secrets={"PASSWORD": {"env": "X"}, "TOKEN": {"env": "Y", "deliver": "env"}})
    instance = bench.runtime.ensure(bench.spec(release, PASSWORD="hunter2", TOKEN="swordfish"), within())
    folder = bench.folder / "first" / "processes" / instance.name
    assert stat.S_IMODE((folder / "secrets" / "PASSWORD").stat().st_mode) == 0o400
    for private in (folder, folder / "secrets"):
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
    status = status_of(bench, instance)
    shown = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in (status.pid, status.supervisor_pid)]
    shown += [(folder / name).read_bytes() for name in ("instance.json", "status.json", "log")]
    assert not any(secret in text for secret in (b"hunter2", b"swordfish") for text in shown)
    bench.runtime.remove(instance, 1, within())
    assert not folder.exists()


def test_the_shell_of_whoever_asks_does_not_restart_an_instance(
    bench: ProcessBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = bench.spec(bench.release())
    instance = bench.runtime.ensure(spec, within())
    before = status_of(bench, instance)
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/opt/bin")
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    bench.runtime.ensure(spec, within())
    assert status_of(bench, instance).pid == before.pid


def test_nothing_but_the_basics_is_inherited(bench: ProcessBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUD_KEY", "of-the-deployer")
    instance = bench.start()
    environ = Path(f"/proc/{status_of(bench, instance).pid}/environ").read_text()
    names = {line.partition("=")[0] for line in environ.split("\0") if line}
    own = {f"DEPLOYER_{name}" for name in ("SERVICE", "RELEASE", "VERSION", "COLOUR", "INSTANCE")}
    assert names - {"PATH", "HOME", "LANG", "TZ"} == own | {"PORT", "HOST", "VERSION"}


def test_an_instance_outlives_its_supervisor_and_gets_a_new_one(bench: ProcessBench) -> None:
    spec = bench.spec(bench.release())
    instance = bench.runtime.ensure(spec, within())
    wait_until_it_answers(instance)
    get(instance, "/")
    os.kill(status_of(bench, instance).supervisor_pid, signal.SIGKILL)
    within().until(lambda: not status_of(bench, instance).supervisor_pid, "the supervisor's end")
    assert bench.runtime.instances(bench.service)[0].state == "running"

    bench.runtime.ensure(spec, within())
    assert status_of(bench, instance).supervisor_pid
    assert get(instance, "/stats").json()["n"] == 1  # still the same process


def test_a_half_made_instance_is_made_anew(bench: ProcessBench) -> None:
    spec = bench.spec(bench.release(secrets=["PASSWORD"]), PASSWORD="hunter2")
    folder = bench.folder / "first" / "processes" / spec.name
    (folder / "secrets").mkdir(parents=True)
    (folder / "secrets" / "PASSWORD").write_text("half")
    instance = bench.runtime.ensure(spec, within())
    assert (folder / "secrets" / "PASSWORD").read_text() == "hunter2"
    wait_until_it_answers(instance)
