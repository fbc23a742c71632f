"""Where the proxy's own sockets are, for ours and for one that a team runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployer.core.errors import Refused
from deployer.drivers.traffic.haproxy.internal_sockets import Inside, of_team


def test_a_path_is_short_and_another_one_for_each_name_and_proxy() -> None:
    here, there = Inside(Path("/state/proxy")), Inside(Path("/other/proxy"))
    paths = {each.path(name).name for each in (here, there) for name in ("shop_blue.first", "shop_blue.second")}
    assert len(paths) == 4
    assert len(str(here.path("x" * 200))) <= len("/state/proxy/requests.sock")
    assert here.bind("a") == f"{here.server('a')} mode 600"


@pytest.mark.parametrize(
    ("text", "bound", "seen"),
    [
        ("", "unix@/etc/conf/", "unix@/etc/conf/"),
        ("global\n  chroot /\n", "unix@/etc/conf/", "unix@/etc/conf/"),
        ("global\n  chroot /var/lib/haproxy\n", "unix@/var/lib/haproxy/", "unix@/"),
        ('global # all\n\tchroot "/jail/" # or so\n', "unix@/jail/", "unix@/"),
        ("defaults\n  chroot /jail\nglobal\n  maxconn 1\n", "unix@/etc/conf/", "unix@/etc/conf/"),
    ],
)
def test_a_teams_chroot_is_where_they_are(tmp_path: Path, text: str, bound: str, seen: str) -> None:
    main = tmp_path / "haproxy.cfg"
    main.write_text(text)
    inside = of_team(Path("/etc/conf"), [main])
    name = inside.path("shop_blue.first").name
    assert inside.bind("shop_blue.first") == f"{bound}{name} mode 600"
    assert inside.server("shop_blue.first") == f"{seen}{name}"


@pytest.mark.parametrize(("text", "who"), [("user haproxy", "user haproxy"), ("uid 99\n  gid 99", "uid 99")])
def test_they_belong_to_the_teams_user(tmp_path: Path, text: str, who: str) -> None:
    (tmp_path / "b.cfg").write_text(f"global\n  {text}\n")
    assert of_team(Path("/etc/conf"), [tmp_path]).bind("x").endswith(f" mode 600 {who}")


def test_a_configuration_that_cannot_be_read_is_left_to_haproxy(tmp_path: Path) -> None:
    assert of_team(Path("/etc/conf"), [tmp_path / "nowhere"]) == Inside(Path("/etc/conf"))


def test_a_name_that_would_break_a_line_is_refused(tmp_path: Path) -> None:
    main = tmp_path / "haproxy.cfg"
    main.write_text("global\n  user a;b\n")
    with pytest.raises(Refused):
        of_team(Path("/etc/conf"), [main])
