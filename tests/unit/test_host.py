"""How a host of the inventory is reached."""

from __future__ import annotations

from deployer.core.host import Host
from deployer.transport.ssh import by_hand, explain, line
from deployer.transport.timeouts import PATIENT, QUICK


def test_ssh_is_told_what_the_inventory_says_and_nothing_more() -> None:
    bare = Host("web1", "web1", "ssh", "web1")

    assert line(bare, QUICK)[:1] == ["ssh"]
    assert line(bare, QUICK)[-2:] == ["--", "web1"]
    assert not {"-p", "-l", "-i", "-J"} & set(line(bare, QUICK))


def test_what_the_inventory_says_comes_before_what_we_add_since_the_first_value_wins() -> None:
    host = Host(
        "web1", "10.0.0.1", "ssh", "10.0.0.1", 2222, "deploy", "/k/id", ("-o", "ServerAliveInterval=1"), ("web",)
    )

    words = line(host, PATIENT, "-nNT")

    assert words[:4] == ["ssh", "-nNT", "-o", "ServerAliveInterval=1"]
    assert words.index("ServerAliveInterval=1") < words.index("ServerAliveInterval=5")
    joined = " ".join(words)
    for part in (
        "-p 2222",
        "-l deploy",
        "-i /k/id",
        "-o IdentitiesOnly=yes",
        "-o BatchMode=yes",
        "-o ConnectTimeout=10",
    ):
        assert part in joined
    assert words[-1] == "10.0.0.1"


def test_a_name_that_begins_like_an_option_stays_a_name() -> None:
    assert line(Host("x", "x", "ssh", "-oProxyCommand=id"), QUICK)[-2:] == ["--", "-oProxyCommand=id"]


def test_what_to_type_gets_there_as_the_inventory_says() -> None:
    host = Host("web1", "10.0.0.1", "ssh", "10.0.0.1", 2222, "deploy", "/k/id", ("-J", "jump host"))

    assert by_hand(host) == "ssh -J 'jump host' -i /k/id -p 2222 deploy@10.0.0.1"
    assert by_hand(host, "deploy --version").endswith(" deploy@10.0.0.1 'deploy --version'")


def test_of_all_that_ssh_said_the_line_that_tells_why_is_shown() -> None:
    host = Host("web1", "web1", "ssh", "web1")

    found = explain("Authorized use only / ssh: connect to host web1 port 22: Connection refused", host)

    assert found.message == "nothing listens for ssh there: connect to host web1 port 22: Connection refused"
    assert explain("something new", host).message == "something new"
