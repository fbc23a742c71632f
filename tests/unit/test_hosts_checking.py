"""What is made of what a host, or ssh, says."""

from __future__ import annotations

import ast
import json
import os
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from deployer.cli.hosts import check_view
from deployer.core import commands
from deployer.core.clock import SystemClock
from deployer.core.host import Host
from deployer.drivers.hosts import readiness
from deployer.drivers.hosts.readiness import HostRoles, Trait, examine
from deployer.views import tables
from tests.documents import REPOSITORY

WEB, EDGE = ("web1", "web2"), ("web1",)
HOST = Host("web1", "web1", "ssh", "10.0.0.1", 2222, "deploy", groups=("edge", "web"))
FIT: dict[str, Any] = {
    "python": "3.13.5",
    "system": "Debian",
    "engine": {"version": "26.1.5"},
    "proxy": {"version": "3.0.11-1+deb13u5"},
    "disk": {"free": 40 << 30, "size": 80 << 30},
    "reboot": False,
}


def traits(monkeypatch: pytest.MonkeyPatch, host: Host = HOST, skew: float = 0, **told: Any) -> dict[str, Trait]:
    clock = SystemClock()

    def run(line: list[str], *_: Any, **__: Any) -> bytes:
        assert line[0] == "ssh"
        return json.dumps({**FIT, "now": clock.now() + skew, **told}).encode()

    monkeypatch.setattr(commands, "run", run)
    (found,) = examine([host], HostRoles(WEB, EDGE), clock, 5)
    return {trait.what: trait for trait in found.traits}


def test_a_host_that_is_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    found = traits(monkeypatch)

    assert {trait.level for trait in found.values()} == {"ok"}
    assert found["proxy"].text == "HAProxy 3.0.11"
    assert found["disk"].text == "40.0 GiB free of 80.0"


@pytest.mark.parametrize(
    ("told", "what", "level", "text"),
    [
        ({"skew": 90.0}, "clock", "bad", "s ahead of this host's; at most 1 s is fine"),
        ({"skew": -90.0}, "clock", "bad", "s behind this host's"),
        ({"skew": 0.5}, "clock", "ok", "right"),
        ({"disk": {"free": 1 << 30, "size": 80 << 30}}, "disk", "warn", "only 1.0 GiB free of 80.0"),
        ({"reboot": True}, "system", "warn", "an update waits for a reboot"),
        ({"proxy": {"version": "2.6.12-1"}}, "proxy", "bad", "HAProxy 2.6.12 is too old"),
        ({"proxy": {"version": "2.10.1"}}, "proxy", "ok", "HAProxy 2.10.1"),
        ({"proxy": {"version": "3.0.1", "master": "PermissionError"}}, "proxy", "bad", "does not let deploy in"),
        ({"proxy": {"error": "FileNotFoundError", "text": "not installed"}}, "proxy", "bad", "HAProxy: not installed"),
        ({"engine": {"version": "26.1.5", "swarm": "worker"}}, "engine", "ok", "Docker 26.1.5, worker of a Swarm"),
        (
            {"engine": {"version": "26.1.5", "swarm": "manager", "heartbeat": "2.0"}},
            "engine",
            "ok",
            "Docker 26.1.5, manager of a Swarm: a lost node is given up after 4 to 6 s",
        ),
        (
            {"engine": {"version": "26.1.5", "swarm": "manager", "heartbeat": "5.0"}},
            "engine",
            "ok",
            "after 10 to 15 s, with `docker swarm update --dispatcher-heartbeat 2s` after 4 to 6 s",
        ),
        ({"engine": {"version": "26.1.5", "swarm": "locked"}}, "engine", "warn", "whose node of a Swarm is locked"),
        ({"engine": {"error": "PermissionError", "text": ""}}, "engine", "bad", "deploy may not use the Docker engine"),
        ({"engine": {"error": "FileNotFoundError", "text": ""}}, "engine", "bad", "there is no Docker engine"),
        ({"engine": {"error": "ConnectionRefusedError", "text": ""}}, "engine", "bad", "does not run"),
        ({"engine": {"error": "TimeoutError", "text": "timed out"}}, "engine", "bad", "is unreachable: timed out"),
    ],
)
def test_what_is_wrong_is_said_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, told: dict[str, Any], what: str, level: str, text: str
) -> None:
    trait = traits(monkeypatch, **told)[what]

    assert trait.level == level
    assert text in trait.text
    assert bool(trait.remedy) == (level != "ok")


def test_a_host_of_neither_group_needs_neither_engine_nor_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(traits(monkeypatch, Host("db", "db", "ssh", "db", groups=("database",)))) == {"system", "disk", "clock"}


@pytest.mark.parametrize(
    ("code", "said", "text"),
    [
        (255, "Host key verification failed.", "its host key is not known"),
        (
            255,
            "Host key for x has changed and you have requested strict checking. / Host key verification failed.",
            "its host key has changed",
        ),
        (255, "deploy@x: Permission denied (publickey).", "it refuses this user and key"),
        (255, "ssh: connect to host x port 22: Connection timed out", "it does not respond"),
        (255, "ssh: Could not resolve hostname x: Name or service not known", "its name cannot be resolved"),
        (0, "`ssh` did not end within 5 s", "it does not respond in time"),
        (127, "bash: python3: not found", "it has no python3"),
        (255, "something new", "something new"),
    ],
)
def test_what_ssh_says_is_said_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, code: int, said: str, text: str
) -> None:
    def fail(*_: Any, **__: Any) -> bytes:
        raise commands.CommandFailed(said, code=code)

    monkeypatch.setattr(commands, "run", fail)

    (found,) = examine([HOST], HostRoles(WEB, EDGE), SystemClock(), 5)

    (trait,) = found.traits
    assert (trait.level, trait.what, trait.text) == ("bad", "reach", text)
    assert trait.remedy


def test_what_a_login_script_prints_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "run", lambda *_, **__: b"Welcome!\n")

    (found,) = examine([HOST], HostRoles(WEB, EDGE), SystemClock(), 5)

    assert "login script" in found.traits[0].remedy


def test_this_host_is_asked_without_ssh() -> None:
    local = Host("here", "127.0.0.1", "local", "here")

    (found,) = examine([local], HostRoles(WEB, EDGE), SystemClock(), 30)

    assert f"Python {sys.version.split()[0]}" in found.traits[0].text
    assert {trait.what for trait in found.traits} >= {"system", "disk", "clock"}


def test_the_probe_needs_no_newer_python_than_it_says() -> None:
    text = Path(readiness.__file__).with_name("probe.py").read_text()

    ast.parse(text, feature_version=(3, 7))


def test_a_hundred_hosts_that_hang_cost_the_time_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text("#!/bin/sh\nexec sleep 60\n")
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    many = [Host(f"web{n}", f"web{n}", "ssh", f"web{n}") for n in range(100)]

    found = examine(many, HostRoles(WEB, EDGE), SystemClock(), 2)

    assert [examined.host for examined in found] == many
    assert {examined.traits[0].text for examined in found} == {"it does not respond in time"}
    assert max(examined.seconds for examined in found) < 60, "one after the other they would take 200 s"


def test_the_page_shows_what_a_check_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(line: list[str], *_: Any, **__: Any) -> bytes:
        if "web2.example.com" in line:
            raise commands.CommandFailed(
                "ssh: connect to host web2.example.com port 22: Connection timed out", code=255
            )
        fit = {**FIT, "system": "Debian GNU/Linux 13 (trixie)", "engine": {"version": "26.1.5+dfsg1"}}
        disk = {"free": int(39.0 * (1 << 30)), "size": int(39.3 * (1 << 30))}
        return json.dumps({**fit, "disk": disk, "now": SystemClock().now()}).encode()

    monkeypatch.setattr(commands, "run", run)
    hosts = [Host(n, n, "ssh", f"{n}.example.com", user="deploy", groups=("web",)) for n in ("web1", "web2")]

    printed = tables.render(check_view("inventory", examine(hosts, HostRoles(WEB, ()), SystemClock(), 5)), 0)

    page = (REPOSITORY / "docs" / "machines.md").read_text()
    assert textwrap.indent(printed, "    ") in page
