"""How a machine of the inventory is reached."""

from __future__ import annotations

from deployer.core.host import Host


def test_ssh_is_told_what_the_inventory_says_and_nothing_more() -> None:
    bare = Host("web1", "web1", "ssh", "web1")

    assert bare.ssh()[:1] == ["ssh"]
    assert bare.ssh()[-2:] == ["--", "web1"]
    assert not {"-p", "-l", "-i", "-J"} & set(bare.ssh())


def test_what_the_inventory_says_comes_before_what_we_add_since_the_first_value_wins() -> None:
    host = Host(
        "web1", "10.0.0.1", "ssh", "10.0.0.1", 2222, "deploy", "/k/id", ("-o", "ServerAliveInterval=1"), ("web",)
    )

    line = host.ssh("-nNT")

    assert line[:4] == ["ssh", "-nNT", "-o", "ServerAliveInterval=1"]
    assert line.index("ServerAliveInterval=1") < line.index("ServerAliveInterval=5")
    joined = " ".join(line)
    for part in (
        "-p 2222",
        "-l deploy",
        "-i /k/id",
        "-o IdentitiesOnly=yes",
        "-o BatchMode=yes",
        "-o ConnectTimeout=10",
    ):
        assert part in joined
    assert line[-1] == "10.0.0.1"


def test_a_name_that_begins_like_an_option_stays_a_name() -> None:
    assert Host("x", "x", "ssh", "-oProxyCommand=id").ssh()[-2:] == ["--", "-oProxyCommand=id"]
