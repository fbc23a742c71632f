"""What `files/layers.py` of the playbook `image.yml` leaves out of an archive."""

from __future__ import annotations

import importlib.util
import json
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

from deployer.core.resources import builtin
from tests.lab.archive import Image


@pytest.fixture(scope="module")
def layers() -> ModuleType:
    spec = importlib.util.spec_from_file_location("layers", builtin("playbooks") / "files" / "layers.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def saved(folder: Path, *layers: bytes) -> tuple[Path, list[str]]:
    """Write an archive; return it with its layers as an engine names them."""
    image = Image(layers, entrypoint=("/app",))
    whole = folder / "whole.tar"
    whole.write_bytes(image.archive("shop:1"))
    return whole, json.loads(image.config())["rootfs"]["diff_ids"]


def names(archive: Path) -> set[str]:
    with tarfile.open(archive) as opened:
        return set(opened.getnames())


@pytest.mark.parametrize(("there", "sent"), [(0, 3), (1, 2), (2, 1), (3, 0)])
def test_layers_that_are_there_from_the_lowest_up_are_left_out(
    layers: ModuleType, tmp_path: Path, there: int, sent: int
) -> None:
    whole, ours = saved(tmp_path, b"a", b"b", b"c")

    part = layers.reduced(whole, [[*ours[:there], "sha256:other"], []])

    assert sum(name.endswith("layer.tar") for name in names(part)) == sent
    assert names(whole) - names(part) == {f"{layer.removeprefix('sha256:')}/layer.tar" for layer in ours[:there]}


def test_a_layer_above_one_that_is_missing_is_sent(layers: ModuleType, tmp_path: Path) -> None:
    whole, ours = saved(tmp_path, b"a", b"b", b"c")

    assert layers.reduced(whole, [["sha256:other", *ours[1:]], ours[1:]]) == whole


def test_a_layer_that_is_needed_again_further_up_is_sent(layers: ModuleType, tmp_path: Path) -> None:
    whole, ours = saved(tmp_path, b"a", b"b", b"a")

    assert layers.reduced(whole, [ours[:1]]) == whole


def test_what_one_host_needed_is_made_once(layers: ModuleType, tmp_path: Path) -> None:
    whole, ours = saved(tmp_path, b"a", b"b")
    first = layers.reduced(whole, [ours[:1]])
    made = first.stat().st_mtime_ns

    assert layers.reduced(whole, [ours[:1]]) == first
    assert first.stat().st_mtime_ns == made
