"""What is ours is its owner's alone, whatever the umask; what is not ours is left as it is."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployer.core import files
from deployer.core.errors import Refused
from deployer.evidence.recording import Recorder
from deployer.model import SecretText
from deployer.store import Store
from deployer.store.privacy import private
from deployer.store.vault import Vault
from deployer.supervisor import logfile
from tests.memory import FakeClock
from tests.services import require


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_everything_is_made_private(tmp_path: Path) -> None:
    state = tmp_path / "deep" / "er" / "state"
    store = Store(state, FakeClock())
    Vault(state / "secrets").save("shop", 1, {"A": SecretText("x")})
    Recorder(state / "recordings" / "1.jsonl", {}).close()
    os.close(logfile.open_for_child(state / "proxy" / "haproxy.log"))
    store.locks.take("shop", "test")
    store.database.close()

    made = [path for path in (tmp_path / "deep").rglob("*") if not path.is_symlink()]
    modes = {str(path): mode(path) for path in (tmp_path / "deep", *made)}
    assert len(modes) > 8
    assert modes == {str(path): 0o700 if path.is_dir() else 0o600 for path in (tmp_path / "deep", *made)}


@pytest.mark.usefixtures("umask")
def test_a_file_has_exactly_the_mode_that_is_asked_for(tmp_path: Path) -> None:
    files.replace(tmp_path / "a", "x", 0o644)
    files.replace(tmp_path / "b", "x")

    assert (mode(tmp_path / "a"), mode(tmp_path / "b")) == (0o644, 0o600)


def test_a_folder_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    files.folder(tmp_path / "a" / "b")

    assert (mode(tmp_path), mode(tmp_path / "a"), mode(tmp_path / "a" / "b")) == (0o755, 0o700, 0o700)
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        files.folder(tmp_path / "file")


@pytest.mark.parametrize("holds", ["nothing", "deployer.db", "secrets/shop/r1.json"])
def test_a_state_folder_that_others_may_read_is_closed(tmp_path: Path, holds: str) -> None:
    if holds != "nothing":
        (tmp_path / holds).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / holds).touch()
    tmp_path.chmod(0o755)

    private(tmp_path)

    assert mode(tmp_path) == 0o700


@pytest.mark.parametrize(
    ("given", "holds", "told"),
    [
        (0o755, "README.md", "other users may read the state folder .*mode 0755"),
        (0o1777, "", "other users may write to the state folder .*mode 1777"),
        (0o770, "deployer.db", "other users may write to the state folder .*mode 0770"),
    ],
)
def test_a_state_folder_that_is_not_ours_alone_is_refused(tmp_path: Path, given: int, holds: str, told: str) -> None:
    if holds:
        (tmp_path / holds).touch()
    tmp_path.chmod(given)

    with pytest.raises(Refused, match=told):
        Store(tmp_path, FakeClock())

    assert mode(tmp_path) == given
    assert [path.name for path in tmp_path.iterdir()] == ([holds] if holds else [])
    tmp_path.chmod(0o700)


def test_the_state_folder_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require("root")
    os.chown(tmp_path, 12345, 12345)
    monkeypatch.setattr(os, "geteuid", lambda: 999)

    with pytest.raises(Refused, match=r"belongs to another user \(uid 12345\)"):
        private(tmp_path)
