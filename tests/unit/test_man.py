"""The manual pages: one for each command, read by `man`, and by mandoc without a complaint."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from deployer.cli.lazy import COMMANDS
from deployer.cli.man import pages, write
from deployer.core.errors import Exit
from tests.services import require


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("man") / "man1"
    write(made)
    return made


def test_there_is_a_page_for_each_command(folder: Path) -> None:
    names = {file.name for file in folder.iterdir()}
    assert {f"deploy-{name}.1" for name in COMMANDS if name != "proxy"} | {"deploy.1", "deploy-canary.1"} <= names
    assert "deploy-proxy.1" not in names, "it is for deploy itself"


def test_mandoc_finds_no_fault(folder: Path) -> None:
    require("man")
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", *map(str, sorted(folder.iterdir()))],
        capture_output=True,
        text=True,
        timeout=60,
    )
    # Without a date the same commands make the same page.
    assert [line for line in done.stdout.splitlines() if "missing date" not in line] == []


def test_man_shows_what_help_says(folder: Path) -> None:
    require("man")
    page = shown(folder / "deploy-canary.1")
    assert "--percent VALUE" in page
    assert "First share, in percent" in page
    assert "deploy resume" in page
    assert "create" in shown(folder / "deploy-token.1")
    assert '"${fpath[1]}/_deploy"' in shown(folder / "deploy-completion.1"), "lines stay as they are"


def shown(file: Path) -> str:
    done = subprocess.run(["mandoc", "-T", "ascii", str(file)], capture_output=True, timeout=120, check=True)
    return re.sub(".\b", "", done.stdout.decode())  # bold is struck twice


def test_the_first_page_explains_every_exit_code() -> None:
    page = pages()["deploy.1"]
    assert [code for code in Exit if f".B {code.value}\n" not in page] == []


def test_without_a_folder_it_says_how_it_is_used(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "deployer.cli.man"], capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    assert done.returncode == 1
    assert "usage: python -m deployer.cli.man FOLDER" in done.stderr
