"""`deploy gitops` on real repositories, fetched over HTTP and over SSH: a push is live, a bad push is rolled back."""

from __future__ import annotations

import hashlib
import hmac
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests
import yaml

from deployer.core.errors import Exit
from tests.live.forge import Remote, over_http
from tests.live.serving import server
from tests.live.shop import Shop
from tests.live.sshd import sshd
from tests.load import Load, Options
from tests.ports import free_port
from tests.services import require
from tests.waiting import within

pytestmark = pytest.mark.live

USERS = Options(rate=60, kinds=("fresh", "busy", "sticky"))


@pytest.fixture
def remote(process_shop: Shop) -> Remote:
    remote = Remote(process_shop)
    process_shop.write(strategy={"canary": {"steps": [30], "for": "3s", "bake": "1s"}})
    return remote


@contextmanager
def over_ssh(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with sshd(remote.shop.folder) as way:
        monkeypatch.setenv("GIT_SSH_COMMAND", f"ssh {way.args} -o BatchMode=yes")
        yield f"{way.address}{remote.bare}"


@pytest.mark.long("two rollouts, of which one is rolled back")
def test_a_push_is_live_and_a_bad_one_is_taken_back_and_not_tried_again(remote: Remote) -> None:
    """The agent runs by itself; nobody lays a hand on a rollout."""
    shop = remote.shop
    shop.version("2.0")
    shop.version("3.0", {"ERR": "0.9"})  # beyond doubt within three seconds, also on a slow machine
    shop.version("3.1")
    told = shop.folder / "told.txt"
    tell = f"sh -c 'echo $DEPLOYER_STATUS $DEPLOYER_COMMIT_STATE >> {told}'"
    remote.push("1.0")
    with over_http(remote.bare.parent) as url, Load(shop.url, USERS) as load:
        with shop.start("gitops", url, "--every", "1s", "--on-status", tell) as agent:
            remote.push("2.0")
            shop.wait(lambda s: s["stable_version"] == "2.0" and not s["rollout"], "the push is live")
            before_bad = load.counters().failed
            remote.push("3.0")
            rows = shop.wait(lambda _: len(shop.events("history")[0]["rollouts"]) == 3, "the bad push is tried")
            shop.wait(lambda s: not s["rollout"] and "failure pinned" in told.read_text(), "it was rolled back")
            looks = 3  # of a second each: it would be tried again by now
            threading.Event().wait(looks)
            newest = shop.events("history")[0]["rollouts"][0]
            assert (newest["number"], newest["version"], newest["outcome"], newest["exit"]) == (3, "3.0", "reverted", 3)
            remote.push("3.1")
            shop.wait(lambda s: s["stable_version"] == "3.1" and not s["rollout"], "the mended push is live")
            within().until(lambda: told.read_text().count("success applied") == 2, "it is told, which comes after it")
            agent.send_signal(signal.SIGTERM)
            out, err = agent.communicate(timeout=120)
        report = load.stop()
    assert rows
    assert agent.returncode == 0, out + err
    assert "r3 (3.0) failed its rollout: it is not tried again" in err
    assert before_bad == 0
    assert report.failed <= 50, "no more than the budget"
    lines = told.read_text().splitlines()
    assert lines.count("success applied") == 2
    assert "failure failed" in lines
    assert "failure pinned" in lines


@pytest.mark.long("three looks over SSH")
def test_over_ssh_a_look_deploys_what_is_there(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    require("sshd", "root")
    shop = remote.shop
    shop.version("2.0")
    shop.write(strategy={"bluegreen": {"bake": "0s"}})
    commit = remote.push("2.0")
    with over_ssh(remote, monkeypatch) as url:
        done = shop.deploy("gitops", url, "--once")
        assert f"2.0 is live, as {commit} says" not in done.stderr
        done = shop.deploy("gitops", url, "--once")
        assert f"2.0 is live, as {commit} says" in done.stderr
        shop.deploy("rollback")
        done = shop.deploy("gitops", url, "--once", expect=Exit.VERDICT)
        assert "was rolled back" in done.stderr
    assert shop.status()["stable_version"] == "1.0"


@pytest.mark.long("a canary that two agents drive", every_change=True)
def test_an_agent_that_is_stopped_leaves_its_canary_to_the_next(remote: Remote) -> None:
    shop = remote.shop
    shop.version("2.0")
    shop.write(strategy={"canary": {"steps": [{"share": 30, "for": "20s"}], "bake": "1s"}})
    remote.push("2.0")
    with over_http(remote.bare.parent) as url, Load(shop.url, USERS) as load:
        with shop.start("gitops", url) as agent:
            shop.wait(lambda s: s["share"] == 3000, "the candidate has users")
            agent.send_signal(signal.SIGTERM)
            _, err = agent.communicate(timeout=120)
        assert agent.returncode == 0, err
        assert "rollout 2 is left where it is" in err
        assert shop.status()["stable_version"] == "1.0"
        shop.deploy("gitops", url, "--once")
        report = load.stop()
    assert report.failed == 0, report.text()
    assert shop.status()["stable_version"] == "2.0"


@pytest.mark.long("two rollouts under load")
def test_a_server_looks_when_the_forge_calls_and_believes_nobody_else(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No look comes by itself here: what is pushed goes live because a webhook says so, with downtime nothing."""
    shop, port, secret = remote.shop, free_port(), "a secret of forge and server"
    shop.version("2.0")
    remote.push("1.0")
    followed = [{"name": "shop", "repository": str(remote.bare), "every": "1h", "webhook": {"github": "HOOK_OF_SHOP"}}]
    (shop.folder / "gitops.yml").write_text(yaml.safe_dump({"follow": followed}))
    monkeypatch.setenv("HOOK_OF_SHOP", secret)
    body = b'{"ref": "refs/heads/main"}'

    def call(key: str) -> requests.Response:
        made = "sha256=" + hmac.new(key.encode(), body, hashlib.sha256).hexdigest()
        url = f"http://127.0.0.1:{port}/api/v1/hooks/shop"
        return requests.post(url, data=body, headers={"X-Hub-Signature-256": made}, timeout=30)

    with Load(shop.url, USERS) as load:
        with server(shop, port, "--gitops", "gitops.yml") as process:
            shop.wait(lambda s: s["stable_version"] == "1.0" and not s["rollout"], "the first look")
            remote.push("2.0")
            assert call("guessed").status_code == 401
            assert shop.status()["stable_version"] == "1.0"
            assert len(shop.events("history")[0]["rollouts"]) == 1
            assert call(secret).status_code == 202
            shop.wait(lambda s: s["stable_version"] == "2.0" and not s["rollout"], "the push is live")
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=120)
        report = load.stop()
    assert process.returncode == 0, err
    assert "webhook shop from 127.0.0.1: X-Hub-Signature-256 is not right" in err
    assert secret not in err
    assert report.failed == 0, report
    assert shop.events("history")[0]["rollouts"][0]["by"].startswith("gitops@")
