"""The host of a service loses its power while users are served: they are served again, and nobody typed anything."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.acceptance.users import QUIET, met, more, users
from tests.lab.machines import Lab
from tests.load import Load
from tests.machines.box import Box, within
from tests.machines.installed import install
from tests.services import require

pytestmark = [pytest.mark.live, pytest.mark.long("it boots a host")]


@pytest.fixture
def box() -> Iterator[Box]:
    require("machines", "haproxy", "gcc")
    with Lab({"box": ()}) as lab, lab.entered():
        install(lab["box"])
        yield Box(lab["box"])


def test_after_a_power_cut_users_are_served_as_before_and_may_be_rolled_back(box: Box) -> None:
    box.deploy("up", "--version", "1.0")
    box.deploy("bluegreen", "--bake", "0", "--version", "2.0")
    box.deploy("init", "--system", user="root")
    with Load(box.url, QUIET) as load:
        more(load)
        load.mark("cut")
        box.reboot("power")
        within().until(lambda: box.version() == "2.0", "users are served again", hint=box.machine.console())
        load.mark("back")
        more(load)
        report = load.stop()
    assert report.before("cut").failed <= report.at_once, "only what was open when the power went"
    assert report.after("back").failed == 0, report.text()
    assert met(load, "back") == {"2.0"}
    with users(box.url) as load:
        box.deploy("rollback")
        load.mark("rolled back")
    assert met(load, "rolled back") == {"1.0"}
