"""What a pipeline is told: foreign text in it is text, and nothing else."""

from __future__ import annotations

import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from deployer.cli.pipeline import PipelineReports, reports
from deployer.core.errors import ManifestRefused, Problem, Refused
from deployer.views.report.pipeline import (
    ManifestError,
    Result,
    environment,
    junit,
    outputs,
    place_of,
    summary,
    values,
    workflow_commands,
)

HOSTILE = "2.0\nshare=100\r\n::error::all is well % \x1b[31m"


def test_a_value_stays_on_its_line() -> None:
    found = values(Result("shop", "refused", 2, "", version=HOSTILE))
    assert outputs(found).splitlines() == [f"{name}={value}" for name, value in found.items()]
    assert len(outputs(found).splitlines()) == len(found)
    assert found["version"] == "2.0 share=100 ::error::all is well %"


def test_the_environment_can_be_sourced(tmp_path: Path) -> None:
    file = tmp_path / "outputs.env"
    file.write_text(environment(values(Result("shop", "done", 0, "", version="$(false) `x` 'y'", share=2550))))
    shown = '. "$1" && printf "%s|%s|%s" "$DEPLOYER_VERSION" "$DEPLOYER_SHARE" "$DEPLOYER_REPORT"'
    done = subprocess.run(["sh", "-euc", shown, "sh", file], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "$(false) `x` 'y'|25.5|"


def test_a_command_of_a_workflow_is_one_line() -> None:
    (line,) = workflow_commands(Result("a,b:c", "reverted", 3, HOSTILE, hint="try again", rollout=7))
    assert line.startswith("::error title=a%2Cb%3Ac rollout 7%3A reverted::2.0%0Ashare=100%0D%0A")
    assert "%25" in line
    assert line.endswith("%0A→ try again")


@pytest.mark.parametrize(
    ("outcome", "code", "level"),
    [("done", 0, "notice"), ("unchanged", 0, "notice"), ("paused", 7, "warning"), ("needs-attention", 8, "error")],
)
def test_how_loud_an_ending_is(outcome: str, code: int, level: str) -> None:
    (line,) = workflow_commands(Result("shop", outcome, code, "so it is"))
    assert line.startswith(f"::{level} ")


def test_each_problem_of_a_manifest_is_shown_where_it_is() -> None:
    lines = list(
        workflow_commands(
            Result("shop", "refused", 2, "", places=(ManifestError("a.yml", 3, "x"), ManifestError("b", 1, "y")))
        )
    )
    assert lines == ["::error file=a.yml,line=3,title=deploy::x", "::error file=b,line=1,title=deploy::y"]
    assert place_of("in/a b.yml:12", "z") == ManifestError("in/a b.yml", 12, "z")
    assert place_of("deploy.yml", "z") is None


def test_documents_of_a_command_that_began_no_rollout() -> None:
    refused = Result("shop", "refused", 2, "there is no <image> *2.0*", hint="build it")
    tree = ElementTree.fromstring(junit(refused))
    (failure,) = tree.iter("failure")
    assert (failure.get("message"), failure.get("type")) == ("there is no <image> *2.0*", "refused")
    assert summary(refused) == "## shop: refused\n\nthere is no \\<image\\> \\*2.0\\*\n\n→ build it\n"
    assert not list(ElementTree.fromstring(junit(Result("shop", "unchanged", 0, "is live"))).iter("failure"))


def test_a_folder_that_cannot_be_made_is_refused_before_anything(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match="cannot be made"), reports(tmp_path / "file/deeper"):
        pytest.fail("the command began")


def test_what_was_refused_is_told_and_the_log_of_the_job_runs_no_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "output"))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary"))
    (tmp_path / "output").write_text("before=1\n")
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "report.html").write_text("of an earlier run")
    problems = (Problem("deploy.yml:7", "replicas", "0 is too few", "1 to 100"),)
    with pytest.raises(ManifestRefused), reports(folder):
        raise ManifestRefused(problems)
    begin, end, shown = capsys.readouterr().err.splitlines()
    assert begin.startswith("::stop-commands::")
    assert end == f"::{begin.removeprefix('::stop-commands::')}::"
    assert shown == "::error file=deploy.yml,line=7,title=deploy::replicas: 0 is too few%0A→ 1 to 100"
    assert (tmp_path / "output").read_text().startswith("before=1\noutcome=refused\nexit=2\n")
    assert "replicas: 0 is too few" in (tmp_path / "summary").read_text()
    assert sorted(f.name for f in folder.iterdir()) == ["junit.xml", "outputs.env", "summary.md"]


def test_a_report_that_cannot_be_written_changes_no_ending(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "report"
    folder.mkdir()
    opened = PipelineReports(folder)
    folder.rmdir()
    opened.failed(Refused("as it was"))
    assert "the report could not be written" in capsys.readouterr().err
