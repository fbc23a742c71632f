from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from deployer.core.limits import SOCKET_PATH
from deployer.core.short_folder import short_folder


@pytest.mark.parametrize("room", [20, 60])
def test_a_socket_has_the_room_that_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    fits = Path("/tmp") / ("y" * (SOCKET_PATH - room - len("/tmp/") - len("/dp12345678") + 1))
    fits.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    made = [short_folder(room)]
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(fits))
    made.append(short_folder(room))
    try:
        assert not any(folder.is_relative_to(base) for folder in made for base in (long, fits)), "a byte too long"
        for folder in made:
            assert folder.stat().st_mode & 0o777 == 0o700
            with socket.socket(socket.AF_UNIX) as listening:
                listening.bind(os.fspath(folder / ("s" * (room - 1))))
    finally:
        for folder in made:
            for left in folder.iterdir():
                left.unlink()
            folder.rmdir()
        fits.rmdir()
