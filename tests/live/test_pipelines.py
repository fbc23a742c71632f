"""The action of this repository and the pipelines of examples/ci, run as their runners run them.

That is with their variables, their files, their signals.

GitHub: "Workflow commands" and "Metadata syntax" of the Actions documentation: environment files, composite steps,
`bash --noprofile --norc -eo pipefail`; a cancelled job gets SIGINT. GitLab: "CI/CD YAML syntax", artifacts:reports.
Jenkins: `sh -xe`. What a runner does in a language of its own is done here in Python, such as expressions.
"""

from __future__ import annotations

import getpass
import json
import os
import re
import shlex
import signal
import subprocess
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from deployer.core.errors import Exit
from tests.documents import REPOSITORY, blocks
from tests.live.shop import DEPLOY, Shop
from tests.live.sshd import Sshd
from tests.load import Load, Options

pytestmark = pytest.mark.live

CI = REPOSITORY / "examples/ci"
USERS = Options(rate=60, kinds=("fresh", "busy", "sticky"))
STEP_SECONDS = 900  # for pip, which installs what deployer needs, on a busy host
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
            start_new_session=True,
        )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with what a step has started
            process.communicate(timeout=60)

    def run(self, *command: str, **environment: str) -> tuple[int, str, str]:
        """Run a step to its end; return its exit code and what it printed."""
        with self.started(*command, **environment) as process:
            out, err = process.communicate(timeout=STEP_SECONDS)
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
    """A runner of GitHub Actions, for the action at the root of the repository."""

    def __init__(self, shop: Shop, **environment: str) -> None:
        super().__init__(shop, GITHUB_ACTIONS="true", **environment)
        self.action: dict[str, Any] = yaml.safe_load((REPOSITORY / "action.yml").read_text())
        self.summary, self.outputs, self.path = (self.folder / f"{name}-file" for name in ("summary", "output", "path"))
        self.path.write_text("")
        self.temp = self.folder / "runner-temp"
        self.temp.mkdir()

    def step(self, **inputs: str) -> tuple[tuple[str, ...], dict[str, str]]:
        """Return command and environment of the step that deploys."""
        (deploys,) = (step for step in self.action["runs"]["steps"] if step.get("id") == "deploy")
        return self._prepared(deploys, inputs)

    def _prepared(self, step: Mapping[str, Any], inputs: Mapping[str, str]) -> tuple[tuple[str, ...], dict[str, str]]:
        """Return command and environment of a step, its expressions evaluated."""
        for file in (self.summary, self.outputs):  # a runner gives each step files of its own
            file.write_text("")
        known = {name: entry["default"] for name, entry in self.action["inputs"].items()}
        assert set(inputs) <= set(known)
        values = {f"inputs.{name}": value for name, value in {**known, **inputs}.items()}
        values |= {"runner.temp": str(self.temp), "github.action_path": str(REPOSITORY)}
        environment = {name: _evaluated(text, values) for name, text in step["env"].items()}
        files = {"SUMMARY": self.summary, "OUTPUT": self.outputs, "PATH": self.path}
        environment |= {f"GITHUB_{'STEP_' * (name == 'SUMMARY')}{name}": str(file) for name, file in files.items()}
        script = self.folder / "step.sh"
        script.write_text(step["run"])
        added = ":".join(reversed(self.path.read_text().split()))
        environment["PATH"] = f"{added}:{self.environment['PATH']}" if added else self.environment["PATH"]
        assert step["shell"] == "bash"
        return ("bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)), environment

    def deploy(self, **inputs: str) -> tuple[int, str]:
        """Run the steps of the action; return the exit code of the first that fails, and what the log shows."""
        failed, log = 0, ""
        given: dict[str, str] = {}
        for step in self.action["runs"]["steps"]:
            if failed and step.get("if") != "always()":
                continue
            command, environment = self._prepared(step, inputs)
            code, out, err = self.run(*command, **environment)
            failed, log = failed or code, log + out + err
            if step.get("id") == "deploy":
                given = {file: Path(file).read_text() for file in (str(self.summary), str(self.outputs))}
        for file, text in given.items():
            Path(file).write_text(text)
        return failed, log

    def result(self) -> dict[str, str]:
        """Return the outputs of the action, by way of the file and of `outputs:` in its metadata."""
        said = dict(line.split("=", 1) for line in self.outputs.read_text().splitlines())
        mapped = {name: entry["value"] for name, entry in self.action["outputs"].items()}
        return {n: said[re.fullmatch(r"\$\{\{ steps\.deploy\.outputs\.(\w+) \}\}", v)[1]] for n, v in mapped.items()}  # type: ignore[index]


def _evaluated(text: str, values: Mapping[str, str]) -> str:
    """Evaluate the two forms of expressions that the action has."""
    plain = re.fullmatch(r"\$\{\{ ([\w.-]+) \}\}", text)
    if plain:
        return values[plain[1]]
    choice = re.fullmatch(r"\$\{\{ ([\w.-]+) == '(.*?)' && '(.*?)' \|\| '(.*?)' \}\}", text)
    assert choice, text
    return choice[3] if values[choice[1]] == choice[2] else choice[4]


PAGE = REPOSITORY / "docs/github-actions.md"


def typed(mark: str) -> str:
    return next(each.text for each in blocks(PAGE) if mark in each.marks)


@pytest.fixture
def hosted(process_shop: Shop, way: Sshd) -> GitHub:
    """A hosted runner, and a server with the key and the host key of the page: it has no state folder of its own."""
    commands = typed("key").replace("~/.ssh/authorized_keys", str(way.keys / "user.pub"))
    commands += typed("host").replace("/etc/ssh/ssh_host_ed25519_key.pub", str(way.keys / "host.pub"))
    commands = commands.replace("server.example.com", f"[{way.host}]:{way.port}")
    (way.keys / "user.pub").write_text("")
    made = subprocess.run(
        ["bash", "-ec", commands], cwd=way.keys, capture_output=True, text=True, timeout=30, check=True
    )
    (way.keys / "known_hosts").write_text(made.stdout)
    job = GitHub(process_shop)
    del job.environment["DEPLOYER_STATE"]
    return job


def over_ssh(job: GitHub, way: Sshd) -> dict[str, str]:
    return {
        "host": f"{way.address}{job.shop.folder}",
        "ssh-key": (way.keys / "deploy-key").read_text(),
        "known-hosts": (way.keys / "known_hosts").read_text(),
    }


@pytest.mark.long("a deploy over ssh")
def test_github_a_hosted_runner_deploys_with_a_restricted_key(hosted: GitHub, way: Sshd) -> None:
    hosted.shop.version("2.0")
    code, log = hosted.deploy(version="2.0", strategy="bluegreen --bake 0", message="tag 2.0", **over_ssh(hosted, way))
    assert code == 0, log
    assert hosted.result()["outcome"] == "done"
    assert hosted.shop.status()["stable_version"] == "2.0"
    assert list(hosted.temp.iterdir()) == [], "the key is removed"
    refused = subprocess.run(
        [
            "ssh",
            *shlex.split(way.args.replace("/user", "/deploy-key")),
            "-p",
            str(way.port),
            f"{getpass.getuser()}@{way.host}",
            "touch",
            "made",
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=30,
        cwd=hosted.folder,
    )
    assert b"touch" not in refused.stdout
    assert not (hosted.folder / "made").exists()
    assert not (Path.home() / "made").exists()


def test_github_another_host_key_is_refused_and_the_key_removed(hosted: GitHub, way: Sshd) -> None:
    given = over_ssh(hosted, way)
    another = (way.keys / "deploy-key.pub").read_text()
    given["known-hosts"] = f"[{way.host}]:{way.port} {another}"
    code, log = hosted.deploy(version="2.0", **given)
    assert code == Exit.REFUSED, log
    assert "host key" in log.lower(), log
    assert list(hosted.temp.iterdir()) == []


@pytest.mark.long("makes an environment and installs deployer there")
def test_github_what_is_installed_is_the_checkout_of_the_action(process_shop: Shop) -> None:
    """What deployer needs is there already, so that no index is asked; that pip finds it there is for scripts/wheel."""
    job = GitHub(process_shop)
    job.environment["PATH"] = ":".join(
        folder for folder in job.environment["PATH"].split(":") if not (Path(folder) / "deploy").exists()
    )
    needed = sysconfig.get_path("purelib")
    # Of an option that begins with `no`, pip's environment has the value that it sets: 0 is no isolation.
    job.environment |= {"PYTHONPATH": needed, "PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0"}
    code, log = job.deploy(version="1.0")
    assert code == 0, log
    assert job.result()["outcome"] == "unchanged"
    (added,) = job.path.read_text().split()
    assert (Path(added) / "deploy").exists()
    (origin,) = Path(added).parent.rglob("twin_deployer-*.dist-info/direct_url.json")
    assert json.loads(origin.read_text())["url"] == REPOSITORY.as_uri()


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


@pytest.mark.parametrize("name", ["hosted.yml", "workflow.yml"])
def test_github_the_workflows_give_what_the_action_takes(name: str) -> None:
    text = (CI / name).read_text()
    (job,) = yaml.safe_load(text)["jobs"].values()
    action = yaml.safe_load((REPOSITORY / "action.yml").read_text())
    (step,) = (step for step in job["steps"] if step.get("uses") == "OWNER/deployer@REVISION")
    assert set(step["with"]) <= set(action["inputs"])
    assert set(re.findall(r"outputs\.(\w+)", text)) <= set(action["outputs"])
    for block in blocks(PAGE):
        if name == "hosted.yml" and block.language == "text":
            assert " ".join(block.text.split()) in " ".join(text.split()), "the page shows the file"


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
            _, log = runner.communicate(timeout=180)
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
        strategy={"canary": {"steps": [{"share": 30, "for": "20s"}]}},
        traffic={**shop.manifest["traffic"], "lease": "10s"},
    )
    command, environment = job.step(version="2.0", strategy="canary", **{"on-cancel": "detach"})
    with Load(shop.url, USERS) as load:
        with job.started(*command, **environment) as runner:
            shop.wait(lambda s: s["share"] == 3000, "the candidate has users")
            runner.send_signal(signal.SIGTERM)
            _, log = runner.communicate(timeout=180)
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
