"""A file of any kind, judged as `deploy judge` does it."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from pathlib import Path

from deployer.app.reports.judgement import judged
from deployer.evidence import recording, replay
from deployer.views import tables
from tests.fuzz.target import refusals, said

_folder = Path(tempfile.mkdtemp(prefix="dp", dir="/tmp"))
atexit.register(shutil.rmtree, _folder, ignore_errors=True)


def judge(data: bytes) -> None:
    """Judge the bytes as a file; print what came of it."""
    file = _folder / "1.jsonl"
    file.write_bytes(data)
    assert recording.shielded(file) >= 0
    recording._mended(file)
    file.write_bytes(data)
    with refusals():
        source = replay.open_source(file)
        policy = replay.recorded_policy(source)
        view = judged(source, replay.judge(source, policy), policy, policy)
        assert view.exit in (0, 3, 7)
        json.dumps(view.to_dict(), allow_nan=False)
        said(tables.render(view, 1_700_000_000.0, tables.uncoloured))
