from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pexpect
import pytest

from deployer.cli import guarded, main
from deployer.cli.lazy import COMMANDS, SECTIONS, group
from deployer.cli.options import Common
from deployer.cli.orders import print_ending
from deployer.cli.strategies import extra_commands
from deployer.core.errors import Aborted, DeployError, Exit, Locked, ManifestRefused, NeedsPerson, Problem, Refused
from deployer.planning.orders import RolloutResult
from tests.services import require

HEAVY = (
    *("docker", "requests", "rich", "pydantic", "ansible_runner", "yaml", "sqlite3", "tenacity"),
    *("email", "importlib.metadata", "socket", "subprocess", "tempfile", "traceback", "zipfile"),
)


def deploy(*arguments: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "import sys; from deployer.cli import main; sys.exit(main())", *arguments]
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=120, check=False
    )


# -- help and version


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["completion", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from deployer.cli import main; code = main(sys.argv[1:]);"
        f"print('LOADED', sorted(set({HEAVY!r}) & set(sys.modules))); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_help_shows_every_command_once_in_its_section(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    places = [text.index(f"\n{section}:\n") for section in SECTIONS]
    assert places == sorted(places)
    for name, entry in {**extra_commands(), **COMMANDS}.items():
        assert text.count(f"\n  {name} ") == 1
        assert text.index(f"\n  {name} ") > text.index(f"\n{entry.section}:\n")


def test_without_a_command_there_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "Usage: deploy" in capsys.readouterr().out


def test_the_help_of_plan_says_that_nothing_changes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--help"]) == 0
    assert "change nothing" in " ".join(capsys.readouterr().out.split())
    assert main(["plan", "canary", "--help"]) == 0
    assert "--percent" in capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_declared_command_exists(name: str) -> None:
    context = click.Context(group(), info_name="deploy")
    command = group().get_command(context, name)
    assert isinstance(command, click.Command)
    assert command.get_help(click.Context(command, parent=context, info_name=name))


# -- what goes wrong


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (["statsu"], "did you mean status"),
        (["role-back"], "rollback"),
        (["zzzzzz"], "there is no command 'zzzzzz'\n"),
        (["--nonsense"], "--nonsense"),
        (["completion"], "Missing argument"),
        (["completion", "tcsh"], "'tcsh' is not one of"),
    ],
)
def test_wrong_usage_is_refused_with_what_would_be_right(
    wrong: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(wrong) == Exit.REFUSED
    out, err = capsys.readouterr()
    assert out == ""
    assert "error: " in err
    assert told in err
    assert "--help" in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("error", "code", "written"),
    [
        (Refused("no such release r9", "`deploy releases`"), 2, "error: no such release r9\n  → `deploy releases`\n"),
        (Locked("dana deploys"), 5, "error: dana deploys\n"),
        (Aborted("aborted by dana"), 6, "error: aborted by dana\n"),
        (NeedsPerson("stuck"), 8, "error: stuck\n"),
        (DeployError("ours"), 1, "error: ours\n"),
        (KeyboardInterrupt(), 6, "error: interrupted\n"),
        (
            ManifestRefused((Problem("deploy.yml:7", "health.rise", "is 0", "1 or more"),)),
            2,
            "error: the manifest was refused, 1 problem:\n  deploy.yml:7: health.rise: is 0 → 1 or more\n",
        ),
        (BrokenPipeError(), 0, ""),
    ],
)
def test_errors_become_lines_and_exit_codes(
    error: BaseException, code: int, written: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    with guarded() as ended:
        fail()
    assert ended.code == code
    out, err = capsys.readouterr()
    assert (out, err) == ("", written)


@pytest.mark.parametrize("debug", ["", "1"])
def test_a_bug_is_one_line_and_a_trace_only_when_asked_for(
    debug: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEPLOYER_DEBUG", debug)
    with guarded() as ended:
        [][1]
    assert ended.code == Exit.INTERNAL
    err = capsys.readouterr().err
    assert "error: internal error: IndexError: list index out of range\n  → this is a bug" in err
    assert ("Traceback" in err) == bool(debug)


def test_a_reader_that_leaves_is_no_error() -> None:
    command = f"{sys.executable} -c 'import sys; from deployer.cli import main; sys.exit(main())' --help"
    script = f"({command}; echo exit $? >&2) | true"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert done.stderr == "exit 0\n"


def test_output_that_a_full_disk_does_not_take_is_an_error() -> None:
    command = [sys.executable, "-c", "import sys; from deployer.cli import main; sys.exit(main())", "--help"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    assert done.returncode == Exit.INTERNAL
    assert "No space left on device" in done.stderr


def test_an_ending_that_stdout_does_not_take_keeps_its_exit_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    full = Path("/dev/full").open("w")  # noqa: SIM115 - to close it is to write once more
    monkeypatch.setattr(sys, "stdout", full)
    print_ending(Common(), RolloutResult("reverted", Exit.VERDICT, "r2 was rolled back", 2))
    with pytest.raises(OSError, match="No space left"):
        full.close()
    assert "error: stdout takes nothing: No space left on device; r2 was rolled back" in capsys.readouterr().err


# -- strategies as commands


def test_a_strategy_in_this_folder_is_a_command_and_is_not_run_by_the_help(tmp_path: Path) -> None:
    folder = tmp_path / "strategies"
    folder.mkdir()
    (folder / "night.py").write_text('"""Deploy while nobody looks."""\nraise SystemExit("I was imported")\n')
    (folder / "canary.py").write_text('# a licence\n"""Our own canary.\n\nMore."""\n')
    (folder / "bare.py").write_text("x = 1\n")
    (folder / "_helper.py").write_text('"""No strategy."""\n')
    (folder / "Bad Name.py").write_text("")
    (folder / "status.py").write_text('"""Would hide a command."""\n')
    (folder / "binary.py").write_bytes(b"\xff\xfe\x00")
    text = deploy("--help", cwd=tmp_path).stdout
    assert "  night         Deploy while nobody looks\n" in text
    assert "  canary        Our own canary\n" in text
    assert "  bare          Strategy of strategies/bare.py\n" in text
    assert "  binary        Strategy of strategies/binary.py\n" in text
    assert "helper" not in text
    assert "Bad Name" not in text
    assert "Would hide" not in text


def test_built_in_strategies_are_commands_everywhere(tmp_path: Path) -> None:
    text = deploy("--help", cwd=tmp_path).stdout
    for name in ("bluegreen", "canary", "recreate", "rolling"):
        assert f"\n  {name} " in text


def test_an_installed_strategy_is_a_command_and_is_not_imported(tmp_path: Path) -> None:
    info = tmp_path / "lib" / "acme_night-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-night\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[deployer.strategies]\nacme = no_such_module:strategy\n")
    text = deploy("--help", cwd=tmp_path, PYTHONPATH=str(tmp_path / "lib")).stdout
    assert "  acme          Strategy of acme-night\n" in text


# -- completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_is_printed(shell: str) -> None:
    done = deploy("completion", shell)
    assert done.returncode == 0
    assert "_DEPLOY_COMPLETE" in done.stdout


def test_completion_proposes_names_without_imports() -> None:
    done = deploy(_DEPLOY_COMPLETE="bash_complete", COMP_WORDS="deploy r", COMP_CWORD="1")
    proposed = {line.partition(",")[2] for line in done.stdout.splitlines()}
    assert {
        "record",
        "recreate",
        "release",
        "release-lock",
        "releases",
        "report",
        "resume",
        "rollback",
        "rolling",
        "run",
    } == proposed


def test_targets_are_written_as_module_and_attribute() -> None:
    for entry in {**extra_commands(), **COMMANDS}.values():
        module, colon, attribute = entry.target.partition(":")
        assert module.startswith("deployer.cli.")
        assert colon
        assert attribute.isidentifier()


def test_importing_the_console_script_imports_nothing_of_click() -> None:
    code = "import sys, deployer.cli; sys.exit('click' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120, check=False).returncode == 0
    assert importlib.import_module("deployer.cli").main is main


def script(shell: str, folder: Path) -> Path:
    """Write the script of a shell where the shell finds `deploy`, too."""
    file = folder / f"deploy.{shell}"
    file.write_text(deploy("completion", shell).stdout)
    return file


def with_deploy() -> dict[str, str]:
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "TERM": "dumb"}


def test_bash_completes_commands_and_options(tmp_path: Path) -> None:
    require("shells")
    file = script("bash", tmp_path)
    for words, place, wanted in (("deploy rollb", 1, "rollback"), ("deploy canary --per", 2, "--percent")):
        completed = f"COMP_WORDS=({words}); COMP_CWORD={place}; {_function(file)} deploy; echo ${{COMPREPLY[@]}}"
        typed = f"source {file}; {completed}"
        done = subprocess.run(
            ["bash", "--norc", "-c", typed], env=with_deploy(), capture_output=True, text=True, timeout=60
        )
        assert done.stdout.split() == [wanted], done.stderr


def _function(file: Path) -> str:
    (found,) = re.findall(r"-F (\w+) deploy", file.read_text())
    return str(found)


def test_fish_completes_commands_with_their_help(tmp_path: Path) -> None:
    require("shells")
    typed = f"source {script('fish', tmp_path)}; complete -C 'deploy rollb'"
    env = {**with_deploy(), "HOME": str(tmp_path)}
    done = subprocess.run(["fish", "-c", typed], env=env, capture_output=True, text=True, timeout=60)
    assert done.stdout == "rollback\tReturn to the previous release\n", done.stderr


def test_zsh_completes_what_is_typed(tmp_path: Path) -> None:
    require("shells")
    file = script("zsh", tmp_path)
    shell = pexpect.spawn(
        "zsh", ["-f", "-i"], env={**with_deploy(), "HOME": str(tmp_path)}, timeout=60, encoding="utf-8"
    )
    try:
        shell.sendline(f"autoload -Uz compinit; compinit -u -d {tmp_path}/dump; source {file}; echo rea''dy")
        shell.expect("ready")
        shell.send("deploy rollb\t")
        shell.expect("rollback")
    finally:
        shell.close(force=True)
