"""The folder of the proxy: one hand at a time, also while it is removed and rewritten."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import LockHeld, Refused
from deployer.core.filelock import is_held
from deployer.drivers.traffic.haproxy import layout, reload
from deployer.drivers.traffic.haproxy.layout import Home
from deployer.drivers.traffic.haproxy.proxy import Proxy
from tests.disks import mounted, remount

HELD = f"is held by process {os.getpid()}"  # by this one


def home(folder: Path) -> Home:
    return Home(folder / "state" / "proxy", folder / "state" / "proxy" / "haproxy.cfg")


def soon(seconds: float = 30) -> Deadline:
    return Deadline.after(SystemClock(), seconds)


def test_who_removes_it_disturbs_nobody_who_makes_it_anew(tmp_path: Path) -> None:
    place, inside, met = home(tmp_path), [0], []

    def come_and_go(_: int) -> None:
        for _round in range(40):
            with place.locked(soon()):
                inside[0] += 1
                met.append(inside[0])
                place.create()
                assert place.has_token()
                place.config.write_text("global\n")
                assert place.services.is_dir()
                assert place.maps.is_dir()
                inside[0] -= 1
                place.remove()  # the lock goes with it: from then on others may be inside

    with ThreadPoolExecutor(6) as hands:
        list(hands.map(come_and_go, range(6)))
    assert met == [1] * 240
    assert list((tmp_path / "state").iterdir()) == []


def test_a_lock_that_is_held_is_waited_for_no_longer_than_allowed(tmp_path: Path) -> None:
    place = home(tmp_path)
    with place.locked(soon()), pytest.raises(LockHeld, match=HELD), place.locked(soon(0.05)):
        pass
    with place.locked(soon(0.05)):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(Refused, match=r"state/proxy cannot be written: Not a directory"), home(tmp_path).locked(soon()):
        pass


def test_who_reads_shares_the_lock_with_others_that_read_and_with_nobody_that_changes(tmp_path: Path) -> None:
    place = home(tmp_path)
    with place.locked(soon()):
        place.create()
        with pytest.raises(LockHeld, match=HELD), place.reading(soon(0.05)):
            pass
    held = pytest.raises(LockHeld, match=HELD)
    with place.reading(soon()), place.reading(soon()), held, place.locked(soon(0.05)):
        pass
    with place.locked(soon()):
        place.remove()
    with place.reading(soon()):  # nothing is there to be changed
        assert not place.root.exists()


def test_who_reads_writes_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    place = home(disk)
    with mounted(disk, "2m"):
        with place.locked(soon()):
            place.create()
        remount(disk, "ro")
        with place.reading(soon()):
            assert place.has_token()
            assert is_held(place.root / "lock")
        assert not is_held(place.root / "lock")
        with pytest.raises(Refused, match="Read-only file system"), place.locked(soon()):
            pass


def test_what_keeps_a_configuration_from_being_tried_out_is_told(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    with mounted(disk, "2m"):
        place = home(disk)
        place.create()
        remount(disk, "ro")
        with pytest.raises(Refused, match="staging cannot be written: Read-only file system"):
            reload._validate(cast("Proxy", SimpleNamespace(home=place)), {})


def test_a_file_that_is_as_it_should_be_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "a.map"
    layout.write(file, "a 1\n")
    first = file.stat()
    layout.write(file, "a 1\n")
    assert file.stat() == first
    layout.write(file, "a 2\n")
    assert file.read_text() == "a 2\n"
    assert file.stat().st_ino != first.st_ino
    file.chmod(0o666)
    layout.write(file, "a 2\n", 0o600)
    assert file.stat().st_mode & 0o777 == 0o600
