"""`deploy --server` against a real `deploy serve`, a real proxy and real users: from a folder that has no state."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from deployer.core.clock import Deadline, SystemClock
from tests.documents import REPOSITORY, blocks
from tests.live.afar import Afar, kinds, recorded, rest, until
from tests.live.certificates import certificate
from tests.live.serving import SECONDS, server, token
from tests.live.shop import COMMAND_SECONDS, DEPLOY, Shop
from tests.live.told import Told
from tests.load import Load, Options
from tests.ports import free_port

pytestmark = pytest.mark.live

USERS = Options(rate=60, kinds=("fresh", "busy", "sticky"))


class Far(Afar):
    """Somebody who has an address and a token of a service's server, and nothing else."""

    def __init__(self, shop: Shop, port: int, token: str, name: str = "far") -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.name = shop.name
        super().__init__(shop.folder / name, DEPLOYER_SERVER=self.url, DEPLOYER_TOKEN=token)


@pytest.fixture
def shop(process_shop: Shop) -> Shop:
    process_shop.version("2.0")
    return process_shop


@pytest.mark.long("a whole canary over HTTP", every_change=True)
def test_a_canary_is_followed_by_who_gave_it_and_by_who_watches(shop: Shop) -> None:
    shop.write(strategy={"canary": {"steps": [{"share": 30, "for": "10m"}], "bake": "0s"}})
    port = free_port()
    operator, viewer = token(shop, "operator", "--service", shop.name), token(shop, "viewer")
    with server(shop, port), Load(shop.url, USERS) as load:
        load.until(lambda now: now.answered > 30, "the load runs")
        far, other = Far(shop, port, operator), Far(shop, port, viewer, "other")
        with far.start(
            "canary", "--service", shop.name, "--version", "2.0", "-m", "from afar", "--output", "json"
        ) as first:
            begun = until(first, "sample")  # numbers come live
            with other.start("watch", "--service", shop.name, "--output", "plain") as second:
                assert second.stderr is not None
                assert second.stderr.readline(), "it ended"  # it follows: only now may the canary go on
                shop.deploy("promote")
                shown, _ = rest(first, 0)
                watched = second.communicate(timeout=COMMAND_SECONDS)
                assert second.returncode == 0, watched
        report = load.stop()
        assert kinds(begun + shown) == kinds(recorded(shop, 2)), "all of it, and each once"
        assert max(kinds(begun + shown).values()) == 1
        assert "traffic.changed" in {event["event"] for event in begun}
        assert f"{shop.name} #2 ended: done" in watched[1]
        assert watched[0] == "r2 (2.0) is live\n"
        status = json.loads(far.deploy("status", "--output", "json").stdout)
        assert status == shop.status()
        assert json.loads(far.deploy("history", "--output", "json").stdout)["rollouts"][0]["message"] == "from afar"
        far.deploy("report", "-o", "report.html")
        assert "from afar" in (far.folder / "report.html").read_text()
        refused = other.deploy("rollback", expect=2)
        assert "the token viewer is a viewer's, this needs operator" in refused.stderr
        assert far.deploy("rollback", "-m", "slow").stdout == "r1 (1.0) is live\n"
    assert report.failed == 0, report.text()
    assert shop.get().text.strip().endswith("1.0")
    deeds = shop.events("audit", "--service", shop.name)[0]["records"]
    start = next(deed for deed in deeds if deed["action"] == "start" and deed["rollout"] == 2)
    assert start["by"].startswith("operator@")
    assert re.fullmatch(r"API, from 127\.0\.0\.1, token [0-9a-f]{12}", start["origin"])


@pytest.mark.long("bad releases over HTTP")
def test_bad_releases_have_the_exit_codes_of_home(shop: Shop) -> None:
    shop.version("3.0", {"ERR": "0.6"})
    shop.version("4.0", {"HEALTH": "0"})
    port = free_port()
    with server(shop, port), Load(shop.url, USERS) as load:
        load.until(lambda now: now.answered > 30, "the load runs")
        far = Far(shop, port, token(shop, "operator"))
        for version, code in (("3.0", 3), ("4.0", 4)):
            order = ("canary", "--percent", "50", "--for", "30s", "--version", version)
            here = shop.deploy(*order, expect=code)
            there = far.deploy(*order, "--service", shop.name, "--report", version, expect=code)
            said = "was rolled back: "
            assert said in here.stdout
            assert said in there.stdout
            values = (far.folder / version / "outputs.env").read_text()
            assert f"DEPLOYER_EXIT={code}\n" in values
            assert "DEPLOYER_OUTCOME=reverted\n" in values
        load.stop()
        missing = far.deploy("up", "--service", shop.name, "--version", "5.0", expect=2)
        assert missing.stderr == shop.deploy("up", "--version", "5.0", expect=2).stderr
        shutil.copy(shop.folder / "deploy.yml", far.folder)
        (shop.folder / "deploy.yml").write_text((shop.folder / "deploy.yml").read_text() + "# newer\n")
        other = far.deploy("up", "--version", "2.0", expect=2)
        assert "differs from yours" in other.stderr
    assert shop.status()["stable_version"] == "1.0"


@pytest.mark.long("a canary through a restart")
def test_a_client_goes_on_when_the_server_starts_anew(shop: Shop) -> None:
    shop.write(strategy={"canary": {"steps": [{"share": 30, "for": "8s"}], "bake": "0s"}})
    port = free_port()
    operator = token(shop, "operator")
    with Load(shop.url, USERS) as load:
        with server(shop, port) as process:
            far = Far(shop, port, operator)
            with far.start("canary", "--service", shop.name, "--version", "2.0", "--output", "json") as client:
                begun = until(client, "sample")
                process.kill()
                process.wait(SECONDS)
                with server(shop, port):
                    shown, _ = rest(client, 0)
        report = load.stop()
    assert report.failed == 0, report.text()
    assert kinds(begun + shown) == kinds(recorded(shop, 2)), "nothing is missed, nothing is shown twice"
    notes = [event["text"] for event in shown if event["event"] == "note"]
    assert all("the server" in text for text in notes)
    assert shown[-1]["outcome"] == "done"


@pytest.mark.long("canaries that are interrupted")
def test_a_rollout_goes_on_or_back_when_its_client_is_told_to_stop(shop: Shop) -> None:
    shop.write(strategy={"canary": {"steps": [{"share": 30, "for": "10m"}], "bake": "0s"}})
    port = free_port()
    operator = token(shop, "operator")
    order = ("canary", "--service", shop.name, "--version", "2.0", "--output", "json")
    with server(shop, port):
        far = Far(shop, port, operator)
        with far.start(*order) as client:
            until(client, "sample")
            client.send_signal(signal.SIGINT)
            _, err = rest(client, 6)
        assert f"error: no longer following; rollout 2 of {shop.name} goes on at {far.url}\n" in err
        assert f"`deploy --server {far.url} abort` rolls it back" in err
        assert shop.status()["share"] == 3000
        assert shop.status()["lock"] is not None
        assert Told.of(far.deploy("abort", "-m", "no", "--output", "json").stdout).ended["outcome"] == "reverted"
        with far.start(*order, "--on-cancel", "abort") as client:
            until(client, "sample")
            client.send_signal(signal.SIGTERM)
            events, _ = rest(client, 6)
        assert events[-1]["outcome"] == "reverted"
        assert shop.events("history")[0]["rollouts"][0]["exit"] == 6
        Deadline.after(SystemClock(), SECONDS).until(lambda: shop.status()["lock"] is None, "nobody changes it")


@pytest.mark.long("a whole canary over HTTP")
def test_a_job_elsewhere_deploys_by_the_server(shop: Shop) -> None:
    """The ready-made script, in a checkout on a machine that has neither state nor proxy."""
    port = free_port()
    with server(shop, port), Load(shop.url, USERS) as load:
        far = Far(shop, port, token(shop, "operator", "--service", shop.name))
        shutil.copy(shop.folder / "deploy.yml", far.folder)
        done = subprocess.run(
            ["sh", str(REPOSITORY / "examples/ci/deploy.sh"), "--version", "2.0"],
            cwd=far.folder,
            env={**far.environment(), "PATH": f"{Path(DEPLOY).parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        report = load.stop()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("outcome: done, rollout 2\n")
    assert sorted(file.name for file in (far.folder / "deploy-report").iterdir()) == [
        "junit.xml",
        "outputs.env",
        "report.html",
        "report.json",
        "summary.md",
    ]
    assert report.failed == 0, report.text()
    assert shop.status()["stable_version"] == "2.0"


@pytest.mark.long("every command of the page")
def test_the_example_of_the_page_does_what_it_says_over_tls(shop: Shop) -> None:
    shop.write(strategy={"canary": {"steps": [{"share": 10, "for": "2s"}], "bake": "0s"}})
    port = free_port()
    page = blocks(REPOSITORY / "docs/server.md")
    (block,) = (b.text for b in page if b.language == "bash" and "DEPLOYER_SERVER" in b.text)
    pem = certificate(shop.folder / "tls.pem", "localhost")
    (shop.folder / "home").mkdir()
    (shop.folder / "home/token").write_text(token(shop, "operator"))
    script = block
    for written, here in (
        ("deploy.example.com:8642", f"localhost:{port}"),
        ("~/.config/deploy.token", str(shop.folder / "home/token")),
        ("service shop", f"service {shop.name}"),
    ):
        assert written in script
        script = script.replace(written, here)
    environ = {**os.environ, "PATH": f"{Path(DEPLOY).parent}:{os.environ['PATH']}", "REQUESTS_CA_BUNDLE": str(pem)}
    with server(shop, port, "--cert", str(pem), "--key", str(pem)), Load(shop.url, USERS):
        done = subprocess.run(
            ["bash", "-euc", script],
            cwd=shop.folder / "home",
            env=environ,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "r2 (2.0) is live for everyone" in done.stdout
    assert done.stdout.endswith("r1 (1.0) is live\n")
