"""Folders as archives of data: what is kept, who owns it elsewhere, and that nothing is written outside."""

from __future__ import annotations

import io
import os
import socket
import tarfile
from pathlib import Path

import pytest

from deployer.bundle import data
from deployer.drivers.runtime.process import folder_archive
from tests.services import require

ROOT = data.FOLDER
Seen = dict[str, tuple[int, int, int, int, bytes | str]]


def packed(folder: Path) -> bytes:
    target = io.BytesIO()
    data.write(folder_archive.pack(folder), target)
    return target.getvalue()


def unpacked(content: bytes, folder: Path) -> None:
    folder_archive.unpack(data.members([content]), folder)


def seen(folder: Path) -> Seen:
    found: Seen = {}
    for path in (folder, *folder.rglob("*")):
        at = path.lstat()
        what: bytes | str = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else ""
        found[str(path.relative_to(folder))] = (at.st_mode, at.st_uid, at.st_gid, int(at.st_mtime), what)
    return found


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Return a folder with all that data may be."""
    folder = tmp_path / "rows"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "row").write_bytes(b"first")
    (folder / "again").hardlink_to(folder / "deep" / "er" / "row")
    (folder / "away").symlink_to("/etc/passwd")
    (folder / "tool").write_bytes(b"#!")
    (folder / "tool").chmod(0o4750)
    (folder / "deep").chmod(0o2550)
    for path in (folder, folder / "deep", folder / "tool"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    return folder


def test_a_folder_comes_back_as_it_was(rows: Path, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(rows / "tool", 70, 71)
        (rows / "tool").chmod(0o4750)
    there = tmp_path / "there"
    there.mkdir(0o700)
    content = packed(rows)
    unpacked(content, there)
    assert seen(there) == seen(rows)
    assert (there / "again").samefile(there / "deep" / "er" / "row")
    assert packed(there) == content
    (there / "again").write_bytes(b"half")
    unpacked(content, there)  # what a restore that was killed has left
    assert seen(there) == seen(rows)


def test_sockets_are_left_out_and_pipes_are_refused(rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = packed(rows)
    monkeypatch.chdir(rows)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        os.utime(rows, (1_000_000_000, 1_000_000_000))
        assert packed(rows) == before
    os.mkfifo(rows / "pipe")
    with pytest.raises(ValueError, match=r"pipe' is neither a file, a folder nor a link"):
        packed(rows)


def archive(*said: tuple[str, bytes, str]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as written:
        for name, kind, target in ((ROOT, tarfile.DIRTYPE, ""), *said):
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.size = kind, target, 3 if kind == tarfile.REGTYPE else 0
            written.addfile(member, io.BytesIO(b"bad"))
    return made.getvalue()


@pytest.mark.parametrize(
    "said",
    [
        [(f"{ROOT}/out", tarfile.SYMTYPE, ".."), (f"{ROOT}/out/escaped", tarfile.REGTYPE, "")],
        [(f"{ROOT}/out", tarfile.SYMTYPE, ".."), (f"{ROOT}/out/deep/escaped", tarfile.REGTYPE, "")],
        [(f"{ROOT}/out", tarfile.SYMTYPE, ".."), (f"{ROOT}/stolen", tarfile.LNKTYPE, f"{ROOT}/out/secret")],
        [(f"{ROOT}/../escaped", tarfile.REGTYPE, "")],
        [("elsewhere", tarfile.REGTYPE, "")],
        [(f"{ROOT}/stolen", tarfile.LNKTYPE, "/etc/shadow")],
        [(ROOT, tarfile.REGTYPE, "")],
        [(ROOT, tarfile.SYMTYPE, "/etc")],
    ],
)
def test_nothing_is_written_outside(said: list[tuple[str, bytes, str]], tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    (tmp_path / "secret").write_text("kept")
    (tmp_path / "deep").mkdir()
    with pytest.raises(ValueError, match=r"is behind a link|is outside of the data|not the data of a folder"):
        unpacked(archive(*said), there)
    assert sorted(p.name for p in tmp_path.rglob("*") if there not in p.parents) == ["deep", "secret", "there"]
    assert not (there / "stolen").exists()


def test_a_link_is_replaced_and_never_followed(tmp_path: Path) -> None:
    there, secret = tmp_path / "there", tmp_path / "secret"
    there.mkdir()
    secret.write_text("kept")
    (there / "rows").symlink_to(secret)
    unpacked(archive((f"{ROOT}/rows", tarfile.REGTYPE, "")), there)
    assert (secret.read_text(), (there / "rows").read_text()) == ("kept", "bad")
    assert not (there / "rows").is_symlink()


def test_who_deploys_owns_it_on_the_other_host_and_of_others_only_root_knows(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require("root")
    there = tmp_path / "there"
    there.mkdir()
    for path in (rows, *rows.rglob("*")):
        os.chown(path, 1000, 1001, follow_symlinks=False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "getegid", lambda: 1001)
    content = packed(rows)
    with tarfile.open(fileobj=io.BytesIO(content)) as found:
        assert {(member.uid, member.gid) for member in found} == {(0, 0)}
    monkeypatch.setattr(os, "geteuid", lambda: 2000)
    monkeypatch.setattr(os, "getegid", lambda: 2001)
    unpacked(content, there)
    assert {at[1:3] for at in seen(there).values()} == {(2000, 2001)}
    assert packed(there) == content
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    os.chown(rows / "tool", 70, 1001)
    with pytest.raises(ValueError, match="tool' belongs to user 70, and only root gives files to others"):
        packed(rows)
