"""What a host says itself before a first start from a bundle."""

from __future__ import annotations

import stat
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from deployer.app.bundles.first import keep_secret
from deployer.app.bundles.install import request_unpacked
from deployer.bundle.reader import opened
from deployer.core.errors import Refused
from deployer.drivers.ports import ImageFiles
from deployer.manifest.envfile import DOTENV, Variables
from deployer.manifest.sections import Secret
from deployer.manifest.tenants import VARIABLE
from deployer.planning.orders import Order
from tests.bundles import Made, written
from tests.house import house
from tests.memory import World

VALUES = ("plain", "it's", "a\\", "\\'", "$HOME ${X}", " # ", '"', "ä\u2028", "two\nlines")


@pytest.mark.parametrize("value", VALUES)
def test_a_variable_reads_back_as_it_was_entered(value: str, tmp_path: Path) -> None:
    (tmp_path / DOTENV).write_text("OTHER=1")
    for name in ("A", "B"):
        keep_secret(Secret(env=name), value, tmp_path)
    known = Variables({}, tmp_path)
    assert (known["A"], known["B"], known["OTHER"]) == (value, value, "1")
    assert stat.S_IMODE((tmp_path / DOTENV).stat().st_mode) == 0o600


def test_a_file_is_private(tmp_path: Path) -> None:
    keep_secret(Secret(file="private/token"), "hunter2", tmp_path)
    file = tmp_path / "private" / "token"
    assert file.read_text() == "hunter2\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match="file/token cannot be written"):
        keep_secret(Secret(file="file/token"), "hunter2", tmp_path)


def test_the_terms_of_a_guest_never_come_from_its_bundle(tmp_path: Path) -> None:
    text = (
        b"{service: shop, image: shop, port: 80, health: {http: /}, traffic: {domains: [a.example.com]}, tenant: acme}"
    )
    file = written(tmp_path, Made(text=text).data())
    order = Order("start", bundle=str(file), unsigned="a test")
    with house(tmp_path / "state", World()) as here, opened(file) as bundle:
        here.images = cast(ImageFiles, SimpleNamespace(platform=lambda: "linux/amd64"))
        with pytest.raises(Refused, match=rf"{file} is a guest's \(acme\): its terms come from the owner of the hosts"):
            request_unpacked(here, order, bundle, {})
        request = request_unpacked(here, order, bundle, {VARIABLE: "/etc/deployer/tenants.yml"})
    assert request.loaded.manifest.tenant == "acme"
