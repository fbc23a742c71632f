"""Whatever the words are, a command ends with an exit code of the contract and a sentence."""

from __future__ import annotations

import os
from pathlib import Path

import click
import pytest

from deployer.cli import main
from deployer.cli.values import sentence
from deployer.core import local_host
from deployer.core.limits import REASON
from deployer.emergency import argv, value_edits

Out = pytest.CaptureFixture[str]
HUGE = "99999999999999999999"


@pytest.mark.parametrize(
    "words",
    [
        ["show", HUGE],
        ["show", "0"],
        ["show", "--", "-1"],
        ["report", HUGE],
        ["rollback", "--to", HUGE, "--service", "shop"],
        ["record", "--rollout", HUGE],
        ["status", "--service", "../../etc"],
        ["status", "--service", "shop\n"],
        ["status", "--service", ""],
        ["status", "--service", "\udcff"],
        ["status", "--service", "x" * 100_000],
        ["abort", "--service", "shop", "-m", "\udcff"],
        ["abort", "--service", "shop", "-m", "\x1b[2J"],
        ["abort", "--service", "shop", "-m", "x" * (REASON + 1)],
        ["up", "--override-freeze", "\x07"],
    ],
)
def test_words_that_lead_nowhere_are_refused(tmp_path: Path, capsys: Out, words: list[str]) -> None:
    at = words.index("--") if "--" in words else len(words)
    code = main([*words[:at], "--state", str(tmp_path / "state"), *words[at:]])

    said = capsys.readouterr().err
    assert code == 2, said
    assert not [c for c in said if ord(c) < 32 and c != "\n"], "nothing that steers a terminal"
    assert len(said) < 2000


@pytest.mark.parametrize("text", ["[" * 10_000, "{" * 10_000, "service: [", "\0", "a: 2020-13-45"])
def test_a_manifest_that_cannot_be_peeked_at_names_the_way_on(tmp_path: Path, capsys: Out, text: str) -> None:
    (tmp_path / "deploy.yml").write_text(text)

    code = main(["status", "-f", str(tmp_path / "deploy.yml"), "--state", str(tmp_path / "state")])

    said = capsys.readouterr().err
    assert code == 2, said
    assert "--service NAME" in said or "nothing was deployed" in said


def test_a_user_without_a_name_has_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SUDO_USER", "GITHUB_ACTOR", "LOGNAME", "USER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])

    assert local_host.whoami() == f"{os.getuid()}@{local_host.host_name()}"


def test_who_acts_is_one_line_of_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "ann\n\x1b[31m" + "x" * 1000)

    who = local_host.whoami()
    assert who.startswith("ann??[31mxxx")
    assert len(who.partition("@")[0]) == 100


@pytest.mark.parametrize("text", ["", "why", "two\nlines", "é", "\x1b[2J", "\udcff", "\x85", "x" * REASON, "x" * 2001])
def test_an_emergency_takes_the_reasons_that_the_command_takes(text: str) -> None:
    context = click.Context(click.Command("abort"))
    try:
        taken = sentence(context, click.Option(["-m"]), text) == text
    except click.BadParameter:
        taken = False

    assert argv.is_sentence(text) == taken


@pytest.mark.parametrize("number", ["²", "٣", "", "-1", "9" * 5000, "1_0"])
def test_a_live_value_of_somebody_else_stops_an_emergency_before_it_begins(number: str) -> None:
    assert value_edits.fields(f"blue,500,0,3,50,0,0,{number}") is None
    assert value_edits.fields("blue,500,0,3,50,0,0,7")
