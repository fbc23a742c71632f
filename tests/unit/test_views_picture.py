from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from deployer.views.picture import main, picture
from tests.unit.views_recordings import GOLDEN, recording


def test_picture_is_the_same_each_time_and_loads_nothing_from_elsewhere() -> None:
    svg = picture(recording("canary"), 22.0)
    assert svg == picture(recording("canary"), 22.0)
    assert "url(http" not in svg
    assert "href" not in svg
    ET.fromstring(svg)


def test_picture_shows_the_moment_that_was_asked_for() -> None:
    shown = re.sub(r"&#160;", " ", picture(recording("canary"), 22.0))
    assert "watch 10% for 30 s, compared with stable" in shown
    assert "13 s left" in shown
    assert "r42 (2.0) is live" not in shown


def test_command_writes_the_file(tmp_path: Path) -> None:
    out = tmp_path / "live.svg"
    assert main([str(GOLDEN / "canary.jsonl"), str(out), "--at", "22", "--title", "deploy canary"]) == 0
    assert out.read_text(encoding="utf-8").startswith("<svg")
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("content", ["", "not json\n"])
def test_command_refuses_what_is_no_recording(tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "events.jsonl").write_text(content)
    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path / "events.jsonl"), str(tmp_path / "live.svg"), "--at", "1"])
    assert ended.value.code == 2
    assert "event" in capsys.readouterr().err
    assert not (tmp_path / "live.svg").exists()
