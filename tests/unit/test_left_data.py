"""A release on other hosts finds none of the data that the one before has written to volumes, and its plan says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployer.core.errors import Exit
from deployer.core.host import Host
from tests.unit.test_farm import HOSTS, Farm

ROWS = {"source": "rows", "target": "/rows"}


@pytest.mark.parametrize(
    ("mounts", "hosts", "said"),
    [
        (
            [ROWS],
            HOSTS[2:],
            "the data in rows stays on web1, web2: this release begins with empty volumes, or with older ones",
        ),
        ([ROWS], HOSTS[1:], ""),
        ([{**ROWS, "read_only": True}], HOSTS[2:], ""),
        ([{**ROWS, "source": "/srv/shared"}], HOSTS[2:], ""),
        ([], HOSTS[2:], ""),
    ],
)
def test_volumes_stay_on_the_hosts_that_are_left(
    mounts: list[dict[str, object]], hosts: tuple[Host, ...], said: str, tmp_path: Path
) -> None:
    farm = Farm(tmp_path)
    farm.hosts = HOSTS[:2]
    assert farm.bring("1.0", mounts=mounts).exit is Exit.DONE
    farm.hosts = hosts
    assert farm.bring("2.0", mounts=mounts).exit is Exit.DONE
    notes = [note for note in farm.told("rollout.started")[-1]["plan"]["notes"] if "the data in" in note]
    assert notes == ([said] if said else [])
