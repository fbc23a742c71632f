"""Manifests with values of every kind: refused with all problems, or carried out as they are meant.

HAProxy itself reads what the accepted ones become, many in one configuration.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

from deployer.app.operations.request_check import _anchored as anchored
from deployer.drivers.traffic.haproxy import binary
from deployer.drivers.traffic.haproxy.spec import Spec
from deployer.manifest.load import load
from tests.fuzz import manifests, rendered
from tests.fuzz.draws import Bytes
from tests.fuzz.target import keep, refusals
from tests.live.certificates import certificate

WEIGHT = 3
LONGEST = 1500
ENVIRON = {"HOME": "/root", "X": "x"}

_folder = Path(tempfile.mkdtemp(prefix="dp", dir="/tmp"))
atexit.register(shutil.rmtree, _folder, ignore_errors=True)
certificate(_folder / "shop.pem", "shop.example.com")
manifests.prepare(_folder)
_proxy = rendered.Proxy(_folder, binary.find())
_waiting: list[tuple[bytes, Spec]] = []


def check(data: bytes) -> None:
    file = _folder / "deploy.yml"
    file.write_text(manifests.text_of(Bytes(data)))
    manifest = None
    with refusals():
        manifest = anchored(load(file, environ=ENVIRON)).manifest
    if manifest is not None:
        _waiting.append((data, rendered.check_everything(manifest)))
    if len(_waiting) >= rendered.BATCH:
        finish()


def finish() -> None:
    """Let HAProxy read what waits. The input of one that it refuses is kept: the one at hand may be another."""
    waiting, _waiting[:] = list(_waiting), []
    refused = [(waiting[number][0], said) for number, said in _proxy.refused([spec for _, spec in waiting])]
    print(f"note: {_proxy.services:,} accepted, read by HAProxy", flush=True)
    for data, said in refused:
        place = keep(data, "manifest_values")
        raise AssertionError(f"HAProxy refuses what was accepted; the input is {place}: {said}")
