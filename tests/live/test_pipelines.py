"""The pipelines of examples/ci, run as their runners run them: their variables, their files, their signals.

GitHub: "Workflow commands" and "Metadata syntax" of the Actions documentation: environment files, composite steps,
`bash --noprofile --norc -eo pipefail`; a cancelled job gets SIGINT. GitLab: "CI/CD YAML syntax", artifacts:reports.
Jenkins: `sh -xe`. What a runner does in a language of its own is done here in Python, such as expressions.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from deployer.core.errors import Exit
from tests.live.shop import COMMAND_SECONDS, DEPLOY, Shop
from tests.load import Load, Options

pytestmark = pytest.mark.live

CI = Path(__file__).parents[2] / "examples/ci"
USERS = Options(rate=60, kinds=("fresh", "busy", "sticky"))
SLOW = {"canary": {"steps": [{"share": 30, "for": "120s"}]}}


class Job:
    """A checkout with the manifest of a shop, and the environment that a runner gives its job."""

    def __init__(self, shop: Shop, **environment: str) -> None:
        self.shop = shop
        self.folder = shop.folder
        self.environment = {
            **shop.environment(),
            "PATH": f"{Path(DEPLOY).parent}:{os.environ['PATH']}",
            "DEPLOYER_STATE": str(shop.state),
            "CI": "true",
            **environment,
        }

    @contextmanager
    def started(self, *command: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate(timeout=10)

    def run(self, *command: str, **environment: str) -> tuple[int, str, str]:
        """Run a step to its end; give its exit code and what it printed."""
        with self.started(*command, **environment) as process:
            out, err = process.communicate(timeout=COMMAND_SECONDS)
        return process.returncode, out, err

    @property
    def report(self) -> Path:
        return self.folder / "deploy-report"

    def dotenv(self) -> dict[str, str]:
        lines = (self.report / "outputs.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def failures(self) -> list[str]:
        tree = ElementTree.parse(self.report / "junit.xml")
        return [failure.get("message", "") for failure in tree.iter("failure")]


class GitHub(Job):
    """A runner of GitHub Actions, for the composite action of the examples."""

    def __init__(self, shop: Shop) -> None:
        super().__init__(shop, GITHUB_ACTIONS="true")
        self.action: dict[str, Any] = yaml.safe_load((CI / "action.yml").read_text())
        self.summary, self.outputs = self.folder / "summary-file", self.folder / "output-file"

    def step(self, **inputs: str) -> tuple[tuple[str, ...], dict[str, str]]:
        """Give command and environment of the action's one step, its expressions evaluated for these inputs."""
        for file in (self.summary, self.outputs):  # a runner gives each step files of its own
            file.write_text("")
        (step,) = self.action["runs"]["steps"]
        known = {name: entry["default"] for name, entry in self.action["inputs"].items()}
        assert set(inputs) <= set(known)
        values = {**known, **inputs}
        environment = {name: _evaluated(text, values) for name, text in step["env"].items()}
        files = {"GITHUB_STEP_SUMMARY": str(self.summary), "GITHUB_OUTPUT": str(self.outputs)}
        script = self.folder / "step.sh"
        script.write_text(step["run"])
        return ("bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)), {**environment, **files}

    def deploy(self, **inputs: str) -> tuple[int, str]:
        """Run the action; give its exit code and what the log of the job shows."""
        command, environment = self.step(**inputs)
        code, out, err = self.run(*command, **environment)
        return code, out + err

    def result(self) -> dict[str, str]:
        """Give the outputs of the action, by way of the file and of `outputs:` in its metadata."""
        said = dict(line.split("=", 1) for line in self.outputs.read_text().splitlines())
        mapped = {name: entry["value"] for name, entry in self.action["outputs"].items()}
        return {n: said[re.fullmatch(r"\$\{\{ steps\.deploy\.outputs\.(\w+) \}\}", v)[1]] for n, v in mapped.items()}  # type: ignore[index]


def _evaluated(text: str, inputs: Mapping[str, str]) -> str:
    """Evaluate the two forms of expressions that the action has."""
    plain = re.fullmatch(r"\$\{\{ inputs\.([\w-]+) \}\}", text)
    if plain:
        return inputs[plain[1]]
    choice = re.fullmatch(r"\$\{\{ inputs\.([\w-]+) == '(.*?)' && '(.*?)' \|\| '(.*?)' \}\}", text)
    assert choice, text
    return choice[3] if inputs[choice[1]] == choice[2] else choice[4]


@pytest.mark.long("a whole canary", every_change=True)
def test_github_a_good_release_has_outputs_and_a_summary(process_shop: Shop) -> None:
    job = GitHub(process_shop)
    process_shop.version("2.0")
    code, log = job.deploy(version="2.0", strategy="bluegreen --bake 0")
    assert code == 0, log
    said = job.result()
    assert (said["outcome"], said["exit"], said["rollout"], said["share"]) == ("done", "0", "2", "100")
    assert "<!doctype html>" in (job.folder / said["report"]).read_text().lower()
    assert "2.0) is live for everyone" in job.summary.read_text()
    assert f"::notice title={process_shop.name} rollout 2%3A done::r2 (2.0) is live" in log
    assert job.failures() == []
    code, log = job.deploy(version="2.0")  # the same again, as each push to a branch is
    assert (code, job.result()["outcome"], job.result()["report"]) == (0, "unchanged", ""), log
    assert "nothing to do" in job.summary.read_text()
    assert not (job.report / "report.html").exists()


@pytest.mark.long("a canary until it is found bad")
def test_github_a_bad_release_fails_the_job_and_says_why(process_shop: Shop) -> None:
    job = GitHub(process_shop)
    process_shop.version("3.0", {"ERR": "0.5"})
    process_shop.write(strategy={"canary": {"steps": [{"share": 40, "for": "60s"}]}})
    with Load(process_shop.url, USERS):
        code, log = job.deploy(version="3.0", strategy="canary")
    said = job.result()
    assert code == Exit.VERDICT, log
    assert (said["outcome"], said["exit"], said["share"]) == ("reverted", "3", "0")
    assert "was rolled back" in job.summary.read_text()
    (line,) = [line for line in log.splitlines() if line.startswith("::error")]
    assert "rollout 2%3A reverted" in line
    assert "worse" in line
    (failure,) = job.failures()
    assert "worse" in failure


def test_github_a_refused_manifest_is_shown_at_its_line(process_shop: Shop) -> None:
    job = GitHub(process_shop)
    process_shop.write(replicas=0)
    line = (job.folder / "deploy.yml").read_text().splitlines().index("replicas: 0") + 1
    code, log = job.deploy(version="2.0")
    assert code == Exit.REFUSED, log
    (shown,) = [line for line in log.splitlines() if line.startswith("::error")]
    assert shown.startswith(f"::error file=deploy.yml,line={line},title=deploy::replicas")
    assert job.result() | {"exit": "2"} == job.result()
    assert job.result()["outcome"] == "refused"
    assert job.failures()
    assert "replicas" in job.summary.read_text()


def test_github_inputs_are_no_script(process_shop: Shop) -> None:
    """Whoever may name a tag may not run commands on the machine of the deploys."""
    job = GitHub(process_shop)
    made = job.folder / "made"
    code, log = job.deploy(version=f'$(touch {made})"; touch {made}; "', manifest=f"`touch {made}`.yml")
    assert code == Exit.REFUSED, log
    assert not made.exists()


@pytest.mark.long("a canary that is interrupted")
def test_a_cancelled_job_takes_the_rollout_back(process_shop: Shop) -> None:
    """SIGINT, then SIGTERM, as the runner of GitHub sends them."""
    job = GitHub(process_shop)
    process_shop.version("2.0")
    process_shop.write(strategy=SLOW)
    command, environment = job.step(version="2.0", strategy="canary")
    with Load(process_shop.url, USERS) as load:
        with job.started(*command, **environment) as runner:
            process_shop.wait(lambda s: s["share"] == 3000, "the candidate has users")
            runner.send_signal(signal.SIGINT)
            runner.send_signal(signal.SIGTERM)
            _, log = runner.communicate(timeout=60)
        report = load.stop()
    assert runner.returncode == Exit.ABORTED, log
    assert report.failed == 0, report.text()
    assert (job.result()["outcome"], job.result()["share"]) == ("reverted", "0")
    status = process_shop.status()
    assert (status["stable_version"], status["share"], status["rollout"]) == ("1.0", 0, None)


@pytest.mark.long("it waits for a lease to end")
def test_a_detached_job_leaves_the_rollout_to_its_lease_and_to_resume(process_shop: Shop) -> None:
    shop, job = process_shop, GitHub(process_shop)
    shop.version("2.0")
    shop.write(
        strategy={"canary": {"steps": [{"share": 30, "for": "6s"}]}},
        traffic={**shop.manifest["traffic"], "lease": "4s"},
    )
    command, environment = job.step(version="2.0", strategy="canary", **{"on-cancel": "detach"})
    with Load(shop.url, USERS) as load:
        with job.started(*command, **environment) as runner:
            shop.wait(lambda s: s["share"] == 3000, "the candidate has users")
            runner.send_signal(signal.SIGTERM)
            _, log = runner.communicate(timeout=30)
        assert runner.returncode == Exit.ABORTED, log
        assert "is left where it is" in log
        assert (job.result()["outcome"], job.result()["exit"]) == ("open", "6")
        shop.wait(lambda s: s["share"] == 0, "the lease ran out")
        assert shop.status()["stable_version"] == "1.0"
        shop.deploy("resume")
        report = load.stop()
    assert report.failed == 0, report.text()
    assert shop.status()["stable_version"] == "2.0"


@pytest.mark.long("a rollout that is killed and ended by the next")
def test_the_job_after_one_that_was_killed_ends_what_it_left(process_shop: Shop) -> None:
    shop, job = process_shop, GitHub(process_shop)
    shop.version("2.0")
    shop.version("2.1")
    shop.write(strategy=SLOW)
    command, environment = job.step(version="2.0", strategy="canary")
    with Load(shop.url, USERS) as load:
        with job.started(*command, **environment) as runner:
            shop.wait(lambda s: s["share"] == 3000, "the candidate has users")
            runner.kill()
        code, log = job.deploy(version="2.1", replace="false")
        assert code == Exit.LOCKED, log
        assert (job.result()["outcome"], job.result()["rollout"]) == ("locked", "")
        code, log = job.deploy(version="2.1", strategy="bluegreen --bake 0")
        report = load.stop()
    assert (code, job.result()["outcome"]) == (0, "done"), log
    assert report.failed == 0, report.text()
    assert [row["outcome"] for row in shop.events("history")[0]["rollouts"]] == ["done", "reverted", "done"]


@pytest.mark.long("a whole canary")
def test_gitlab_the_script_leaves_its_reports(process_shop: Shop) -> None:
    job = Job(process_shop, GITLAB_CI="true", CI_COMMIT_TAG="2.0", CI_PIPELINE_URL="https://gitlab.example.com/p/1")
    process_shop.version("2.0")
    process_shop.write(strategy={"bluegreen": {"bake": "0s"}})
    pipeline = yaml.safe_load((CI / "gitlab-ci.yml").read_text())["deploy"]
    (line,) = pipeline["script"]
    code, out, err = job.run("bash", "-eo", "pipefail", "-c", line)
    assert code == 0, out + err
    reports = pipeline["artifacts"]["reports"]
    for file in (*reports.values(), *pipeline["artifacts"]["paths"]):
        assert (job.folder / file).exists(), file
    said = job.dotenv()
    assert all(re.fullmatch(r"[A-Za-z0-9_]+", name) and len(value) < 5000 for name, value in said.items())
    assert (said["DEPLOYER_OUTCOME"], said["DEPLOYER_VERSION"]) == ("done", "2.0")
    assert "pipeline https://gitlab.example.com/p/1" in process_shop.deploy("show").stdout


def test_jenkins_the_step_fails_the_build_and_leaves_its_reports(process_shop: Shop) -> None:
    job = Job(process_shop, JENKINS_URL="https://ci.example.com/", BUILD_TAG="jenkins-shop-7", VERSION="2.0")
    process_shop.version("2.0", {"EXIT": "1"})
    text = (CI / "Jenkinsfile").read_text()
    (step,) = re.findall(r"^ +sh '(.*)'$", text, re.MULTILINE)
    code, out, err = job.run("sh", "-xe", "-c", step)
    assert code == Exit.FAILED, out + err
    assert job.dotenv()["DEPLOYER_OUTCOME"] == "reverted"
    assert job.failures()
    (found,) = re.findall(r"^ +junit '(.*)'$", text, re.MULTILINE)
    assert (job.folder / found).exists()


@pytest.mark.long("a whole canary")
def test_shell_the_outcome_is_there_for_what_comes_after(process_shop: Shop) -> None:
    job = Job(process_shop)
    process_shop.version("2.0")
    process_shop.write(strategy={"bluegreen": {"bake": "0s"}})
    code, out, err = job.run(str(CI / "deploy.sh"), "--version", "2.0")
    assert (code, out.splitlines()[-1]) == (0, "outcome: done, rollout 2"), out + err
    code, out, err = job.run(str(CI / "deploy.sh"), "--version", "2.0")
    assert (code, out.splitlines()[-1]) == (0, "outcome: unchanged"), out + err
    code, out, err = job.run(str(CI / "deploy.sh"), "--version", "9.9")
    assert (code, out.splitlines()[-1]) == (Exit.REFUSED, "outcome: refused"), out + err
