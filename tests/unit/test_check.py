"""Tests of `deploy check`: manifests alone decide; nothing else is asked, and nothing is written."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from deployer.cli.check import check
from deployer.core.errors import Exit

GOOD = "service: shop\nimage: shop:1\nport: 8080\n"
HOOKS = Path(__file__).parents[2] / ".pre-commit-hooks.yaml"


def ran(folder: Path, *arguments: str) -> Result:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return CliRunner().invoke(check, arguments, standalone_mode=False)


def test_a_valid_manifest(tmp_path: Path) -> None:
    (tmp_path / "deploy.yml").write_text(GOOD)
    found = ran(tmp_path)
    assert (found.return_value, found.output) == (Exit.DONE, "deploy.yml: valid\n")
    assert [file.name for file in tmp_path.iterdir()] == ["deploy.yml"]


def test_each_problem_has_its_line(tmp_path: Path) -> None:
    (tmp_path / "deploy.yml").write_text(f"{GOOD}replcas: 2\nstrategy: {{canary: {{fro: 3s}}}}\n")
    found = ran(tmp_path)
    assert found.return_value == Exit.REFUSED
    assert found.output.splitlines() == [
        "deploy.yml:4: replcas: is not a key of a manifest → did you mean `replicas`?",
        "deploy.yml:5: strategy.canary.fro: is not a key of `canary` → did you mean `for`?",
    ]


def test_variables_are_those_of_another_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NAME_OF_IT", raising=False)
    (tmp_path / "deploy.yml").write_text(f"{GOOD}env: {{NAME: '${{NAME_OF_IT}}'}}\n")
    found = ran(tmp_path)
    assert found.return_value == Exit.DONE
    assert found.output == "deploy.yml:4: env.NAME: needs $NAME_OF_IT, which is not set here\ndeploy.yml: valid\n"
    strict = ran(tmp_path, "--environment")
    assert strict.return_value == Exit.REFUSED
    assert "the environment variable NAME_OF_IT is not set" in strict.output


def test_a_file_of_variables_is_that_of_another_environment(tmp_path: Path) -> None:
    (tmp_path / "deploy.yml").write_text(f"{GOOD}env_file: .env\n")
    found = ran(tmp_path)
    assert found.return_value == Exit.DONE
    assert found.output == "deploy.yml:4: env_file: needs the file .env, which is not here\ndeploy.yml: valid\n"
    assert ran(tmp_path, "--environment").return_value == Exit.REFUSED
    (tmp_path / ".env").write_text("not a variable\n")
    assert ran(tmp_path).output.startswith(".env:1: is not NAME=value")


def test_an_overlay_is_checked_with_its_manifest(tmp_path: Path) -> None:
    (tmp_path / "deploy.yml").write_text(GOOD)
    (tmp_path / "deploy.staging.yml").write_text("replicas: none\n")
    found = ran(tmp_path, "--output", "json", "deploy.yml", "deploy.staging.yml")
    assert found.return_value == Exit.REFUSED
    good, bad = map(json.loads, found.output.splitlines())
    assert (good["file"], good["valid"], bad["file"], bad["valid"]) == ("deploy.yml", True, "deploy.staging.yml", False)
    assert [problem["where"] for problem in bad["problems"]] == ["deploy.staging.yml:1"]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    found = ran(tmp_path, "nope.yml")
    assert found.return_value == Exit.REFUSED
    assert found.output.startswith("nope.yml: ")


def test_the_hook_for_pre_commit_takes_manifests_and_nothing_else() -> None:
    (hook,) = yaml.safe_load(HOOKS.read_text())
    assert hook["entry"] == "deploy check"
    pattern = re.compile(hook["files"])
    names = ("deploy.yml", "shop/deploy.staging.yml", "deploy.yaml", "mydeploy.yml", "deploy.yml.j2", "compose.yml")
    assert [bool(pattern.search(name)) for name in names] == [True, True, True, False, False, False]
