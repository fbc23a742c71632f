"""Exported audit logs that were changed by any hand: followed, or refused; only what was written is found sound."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

from deployer.store.audit_chain import verify_file
from tests.fuzz.target import refusals

_folder = Path(tempfile.mkdtemp(prefix="dp", dir="/tmp"))
atexit.register(shutil.rmtree, _folder, ignore_errors=True)


def check(data: bytes) -> None:
    (_folder / "audit.jsonl").write_bytes(data)
    with refusals():
        verify_file(_folder / "audit.jsonl", "0" * 64)
        verify_file(_folder / "audit.jsonl")
