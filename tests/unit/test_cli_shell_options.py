from __future__ import annotations

import io
import json
from dataclasses import FrozenInstanceError
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from deployer.cli.options import OPTIONS, Common, common, default_state
from deployer.cli.output import print_result, wants_colour, write_error
from deployer.views.data import HistoryView


def run(*arguments: str, take: tuple[str, ...] = tuple(OPTIONS)) -> Common:
    seen: list[Common] = []

    @click.command()
    @common(*take)  # type: ignore[arg-type]
    def command(common: Common) -> None:
        seen.append(common)

    result = CliRunner().invoke(command, list(arguments), standalone_mode=False)
    if result.exception:
        raise result.exception
    return seen[0]


def test_options_arrive_as_one_frozen_value() -> None:
    given = run(
        "-f", "a.yml", "-d", "staging", "--state", "/s", "--output", "json", "--service", "x", "-m", "why", "-y"
    )
    assert given == Common(
        Path("a.yml"), "staging", Path("/s"), "json", "x", "why", yes=True, named=True, state_named=True
    )
    with pytest.raises(FrozenInstanceError):
        given.yes = False  # type: ignore[misc]


def test_options_that_a_command_does_not_take_are_refused() -> None:
    assert run(take=("yes",)).file == Path("deploy.yml")
    with pytest.raises(click.NoSuchOption):
        run("-m", "why", take=("yes",))


def test_an_unknown_output_is_refused() -> None:
    with pytest.raises(click.BadParameter, match="json"):
        run("--output", "xml")


@pytest.mark.parametrize(
    ("uid", "env", "folder"),
    [
        (1000, {"DEPLOYER_STATE": "/x"}, "/x"),
        (0, {"DEPLOYER_STATE": "/x"}, "/x"),
        (0, {"XDG_STATE_HOME": "/xdg"}, "/var/lib/deployer"),
        (1000, {"XDG_STATE_HOME": "/xdg"}, "/xdg/deployer"),
        (1000, {"XDG_STATE_HOME": "relative"}, "/home/dana/.local/state/deployer"),
        (1000, {}, "/home/dana/.local/state/deployer"),
    ],
)
def test_state_folder_by_default(uid: int, env: dict[str, str], folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DEPLOYER_STATE", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**env, "HOME": "/home/dana"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("os.geteuid", lambda: uid)
    assert default_state() == Path(folder)


def test_the_state_folder_is_read_when_the_command_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPLOYER_STATE", "/later")
    assert run().state == Path("/later")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_results_are_json_on_demand_and_text_otherwise() -> None:
    out = io.StringIO()
    print_result(HistoryView("shop", ()), "json", stdout=out)
    print_result(HistoryView("shop", ()), "text", stdout=out)
    data, text = out.getvalue().splitlines()
    assert json.loads(data) == {"service": "shop", "rollouts": [], "adopted": 0.0, "adopted_by": ""}
    assert text == "shop: no rollout yet"


@pytest.mark.parametrize(
    ("env", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)]
)
def test_colours_are_for_terminals_of_people_who_want_them(
    env: dict[str, str], coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in {"TERM": "xterm", **env}.items():
        monkeypatch.setenv(name, value)
    assert wants_colour(Terminal()) is coloured
    assert not wants_colour(io.StringIO())
    terminal = Terminal()
    write_error("no", terminal)
    assert ("\x1b[" in terminal.getvalue()) is coloured


def test_an_error_that_cannot_be_written_is_no_second_error() -> None:
    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    write_error("no", Gone())
