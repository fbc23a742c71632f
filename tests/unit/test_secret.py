"""A value that was a secret once shows itself nowhere, whoever repeats it."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployer import cli
from deployer.core.errors import StepFailed
from deployer.core.secret import HIDDEN, SHORTEST, SecretText, hide, hide_in
from tests.house import Scene

KEY = "-----BEGIN KEY-----\nMIIB'\"\\c2VjcmV0LWtleS1vZi1vdXJz\n-----END KEY-----\n"


def test_a_value_shows_itself_to_nobody() -> None:
    secret = SecretText("of-the-first-test")

    assert HIDDEN == repr(secret) == str(secret) == f"{secret}" == f"{secret!r}"
    assert "of-the-first" not in json.dumps({"a": secret}, default=str)


@dataclass
class Holder:
    secret: SecretText


@pytest.mark.parametrize("write", [pickle.dumps, copy.copy, copy.deepcopy, lambda s: asdict(Holder(s))])
def test_a_value_is_not_written_down_by_accident(write: object) -> None:
    with pytest.raises(TypeError, match="neither copied nor written"):
        write(SecretText("of-the-second-test"))  # type: ignore[operator]


def test_what_others_print_is_shown_without_it() -> None:
    SecretText("pass/word of+test&three")

    said = f"cannot log in with pass/word of+test&three or {quote('pass/word of+test&three', safe='')}"
    assert hide(said) == "cannot log in with *** or ***"
    assert hide_in({"log": ["pass/word of+test&three"], "n": (1, None, True)}) == {"log": ["***"], "n": [1, None, True]}


def test_lines_of_a_long_value_are_found_alone() -> None:
    SecretText(KEY)

    assert hide(KEY.strip()) == HIDDEN
    assert hide(json.dumps({"key": KEY.strip()})) == '{"key": "***"}'
    assert hide("line 2: MIIB'\"\\c2VjcmV0LWtleS1vZi1vdXJz") == "line 2: ***"


def test_a_short_value_hides_no_words() -> None:
    SecretText("on"), SecretText("x" * (SHORTEST - 1))

    assert hide("on xxxxx and on") == "on xxxxx and on"


@given(st.text(min_size=SHORTEST), st.text(), st.text())
def test_any_value_is_hidden_anywhere(value: str, before: str, after: str) -> None:
    SecretText(value)

    if len(value.strip()) >= SHORTEST:
        assert value.strip() not in hide(f"{before} {value} {after}").replace(HIDDEN, "")


def test_the_last_handler_hides_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    secret = SecretText("of-the-handler-test")
    monkeypatch.setenv("DEPLOYER_DEBUG", "1")

    def fail() -> None:
        raise RuntimeError(f"did not work with {secret.reveal()}")

    with cli.guarded() as ended:
        fail()
    assert ended.code == 1
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "of-the-handler-test" not in said
    assert said.count("did not work with ***") == 2


def test_what_a_rollout_tells_and_keeps_is_without_it(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    value = "of-the-rollout-test"
    secrets = {"DB": SecretText(value)}
    described = {"secrets": {"DB": {"env": "DB"}}}
    scene.deploy("1.0", manifest=described, secrets=lambda: secrets)
    scene.world.broken.add("2.0")
    scene.world.words = (f"connecting with {value}",)

    ending = scene.deploy("2.0", manifest=described, secrets=lambda: secrets)

    assert ending.outcome == "reverted"
    assert "connecting with ***" in str(scene.told("step.failed"))
    assert value not in f"{scene.events} {ending}"
    for file in tmp_path.glob("deployer.db*"):
        assert value.encode() not in file.read_bytes()


def test_a_bug_of_ours_is_written_down_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(tmp_path)
    value = "of-the-bug-test"

    def fail(*_: object) -> None:
        raise KeyError(value)

    monkeypatch.setattr("deployer.engine.gates.healthy", fail)
    ending = scene.deploy("1.0", manifest={"secrets": {"DB": {"env": "DB"}}}, secrets=lambda: {"DB": SecretText(value)})

    assert ending.text == "r1 was rolled back: internal error: KeyError: '***'"
    assert value not in str(scene.events)
    assert StepFailed("x").log == ()
