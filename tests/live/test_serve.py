"""`deploy serve` as a process: a canary by HTTP, its events, a client that leaves, a server that is killed."""

from __future__ import annotations

import re
import signal
import subprocess
import time

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from deployer.core.clock import Deadline, SystemClock
from tests.documents import REPOSITORY, blocks
from tests.live.certificates import certificate
from tests.live.serving import SECONDS, Api, server, token
from tests.live.shop import COMMAND_SECONDS, Shop
from tests.load import Load, Options
from tests.ports import free_port
from tests.services import require

pytestmark = pytest.mark.live

USERS = Options(rate=60, kinds=("fresh", "busy", "sticky"))


@pytest.fixture
def shop(process_shop: Shop) -> Shop:
    process_shop.version("2.0")
    return process_shop


@pytest.mark.long("a canary that outlives its server")
def test_over_tls_a_stream_ends_with_the_server(shop: Shop) -> None:
    port = free_port()
    pem, text = certificate(shop.folder / "tls.pem", "localhost"), token(shop, "viewer")
    headers = {"Authorization": f"Bearer {text}"}
    url = f"https://localhost:{port}"
    with server(shop, port, "--cert", str(pem), "--key", str(pem)) as process:
        events = f"{url}/api/v1/services/{shop.name}/events"
        with requests.get(events, headers=headers, stream=True, verify=str(pem), timeout=SECONDS) as stream:
            assert stream.status_code == 200
            assert stream.headers["strict-transport-security"]
            lines = stream.iter_lines(chunk_size=1, decode_unicode=True)
            assert next(lines) == "retry: 1000"
            metrics = requests.get(f"{url}/metrics", headers=headers, verify=str(pem), timeout=SECONDS).text
            assert "deployer_api_streams 1.0" in metrics
            shop.deploy("token", "revoke", "viewer")
            refused = requests.get(f"{url}/api/v1/services", headers=headers, verify=str(pem), timeout=SECONDS)
            assert refused.status_code == 401
            process.send_signal(signal.SIGINT)
            assert "".join(lines) == ""
        _, err = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, err
        assert "Traceback" not in err


@pytest.mark.long("a whole canary over HTTP")
def test_a_canary_by_http_goes_on_when_its_client_leaves(shop: Shop) -> None:
    shop.write(strategy={"canary": {"steps": [{"share": 30, "for": "10m"}], "bake": "0s"}})
    port = free_port()
    operator, viewer = token(shop, "operator", "--service", shop.name), token(shop, "viewer")
    with server(shop, port) as process, Load(shop.url, USERS) as load:
        api = Api(shop, port, operator)
        assert Api(shop, port, viewer).post("rollouts", version="2.0").status_code == 403
        asked = time.monotonic()
        began = api.post("rollouts", version="2.0", reason="by HTTP")
        assert began.status_code == 202, began.text
        number = api.begun(began)
        assert number == 2
        events = Api(shop, port, viewer).listen(f"/rollouts/{number}/events", "sample")
        kinds = [event["event"] for _, event in events]
        assert (kinds[0], kinds[-1]) == ("rollout.started", "sample")
        assert "traffic.changed" in kinds
        assert api.get(f"/services/{shop.name}")["share"] == 3000, "the client left, the canary goes on"
        figures: dict[str, float] = {}
        Deadline.after(SystemClock(), SECONDS).until(
            lambda: figures.update(scraped(shop, port, viewer)) or figures.get("deployer_share_actual_ratio", 0) > 0,
            "requests of the candidate are counted: in the first sample there may be none",
        )
        assert figures["deployer_share_ratio"] == figures["deployer_share_target_ratio"] == 0.3
        assert 0 < figures["deployer_lease_left_seconds"] <= 30
        assert 0 < figures["deployer_budget_left_answers"] <= figures["deployer_budget_answers"]
        assert 0 < figures["deployer_lock_held_seconds"] <= time.monotonic() - asked
        assert figures["deployer_live_readable"] == 1
        seen = max(number for number, _ in events)
        promoted = api.post("promote", reason="enough")
        told = api.run(promoted)
        assert (told["exit"], told["outcome"]) == (0, "done"), told
        rest = api.listen(f"/rollouts/{number}/events", "rollout.ended", seen)
        ids = [number for number, _ in rest if number]
        assert min(ids) > seen
        assert rest[-1][1]["outcome"] == "done"
        assert api.run(began)["exit"] == 0
        page = requests.get(f"{api.base}/rollouts/{number}/report", headers=api.headers, timeout=SECONDS)
        assert "by HTTP" in page.text
        report = load.stop()
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, err
    assert report.failed == 0, report.text()
    assert shop.status()["stable_version"] == "2.0"
    deeds = shop.events("audit", "--service", shop.name)[0]["records"]
    start = next(deed for deed in deeds if deed["action"] == "start" and deed["rollout"] == number)
    assert start["by"].startswith("operator@")
    assert re.fullmatch(r"API, from 127\.0\.0\.1, token [0-9a-f]{12}", start["origin"])


def scraped(shop: Shop, port: int, viewer: str) -> dict[str, float]:
    """Return what the server tells Prometheus of a service."""
    headers = {"Authorization": f"Bearer {viewer}"}
    answer = requests.get(f"http://127.0.0.1:{port}/metrics", headers=headers, timeout=SECONDS)
    families = text_string_to_metric_families(answer.text)
    return {s.name: s.value for f in families for s in f.samples if s.labels.get("service") == shop.name}


@pytest.mark.long("every command of the page")
def test_the_example_of_the_page_does_what_it_says(shop: Shop) -> None:
    require("curl")
    shop.write(strategy={"canary": {"steps": [{"share": 10, "for": "10m"}], "bake": "0s"}})
    port = free_port()
    (block,) = (b.text for b in blocks(REPOSITORY / "docs/server.md") if b.language == "sh")
    script = re.sub("TOKEN=….*", f"TOKEN={token(shop, 'operator')}", block)
    for written, here in ((":8642", f":{port}"), ("/shop/", f"/{shop.name}/"), ("/17/", "/2/")):
        assert written in script
        script = script.replace(written, here)
    with server(shop, port):
        done = subprocess.run(
            ["bash", "-euc", script], capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "event: rollout.ended" in done.stdout
    assert shop.status()["stable_version"] == "2.0"
    said = [deed["reason"] for deed in shop.events("audit", "--service", shop.name)[0]["records"]]
    assert {"new cart", "looks good"} <= set(said)


@pytest.mark.long("a canary through the death of its server")
def test_a_server_that_is_killed_takes_no_rollout_with_it(shop: Shop) -> None:
    """The first death leaves the process of the rollout alone; at the second that dies too, and the rollout goes on."""
    shop.write(strategy={"canary": {"steps": [{"share": 30, "for": "25s"}], "bake": "0s"}})
    port = free_port()
    operator = token(shop, "operator")
    with Load(shop.url, USERS) as load:
        with server(shop, port) as process:
            api = Api(shop, port, operator)
            began = api.post("rollouts", version="2.0")
            number = api.begun(began)
            api.listen(f"/rollouts/{number}/events", "sample")
            process.kill()
            process.wait(SECONDS)
        assert shop.status()["share"] == 3000
        with server(shop, port) as process:
            told = api.run(began)
            assert (told["exit"], told["outcome"], told["rollout"]) == (0, "done", number)
            shop.version("3.0")
            began = api.post("rollouts", version="3.0")
            number = api.begun(began)
            api.listen(f"/rollouts/{number}/events", "sample")
            process.kill()
            driver = shop.status()["lock"]["host"]
            pid = int(re.search(r"pid (\d+)", driver)[1])  # type: ignore[index]
            subprocess.run(["kill", "-9", str(pid)], check=True)
        with server(shop, port):
            told = api.run(began)
            assert (told["ended"], told["outcome"], told["exit"]) == (True, "lost", 1)
            ended = api.listen(f"/rollouts/{number}/events", "rollout.ended")
            assert "rollout.resumed" in [event["event"] for _, event in ended]
            assert ended[-1][1]["outcome"] == "done"
        report = load.stop()
    assert report.failed == 0, report.text()
    assert shop.status()["stable_version"] == "3.0"


@pytest.mark.long("a canary that is killed under its server", every_change=True)
def test_a_rollout_whose_process_is_killed_is_gone_on_with_by_the_server_that_lives(shop: Shop) -> None:
    shop.write(strategy={"canary": {"steps": [{"share": 30, "for": "20s"}], "bake": "0s"}})
    port = free_port()
    operator = token(shop, "operator")
    with Load(shop.url, USERS) as load, server(shop, port):
        api = Api(shop, port, operator)
        number = api.begin(version="2.0")
        api.listen(f"/rollouts/{number}/events", "sample")
        pid = int(re.search(r"pid (\d+)", shop.status()["lock"]["host"])[1])  # type: ignore[index]
        subprocess.run(["kill", "-9", str(pid)], check=True)
        ended = api.listen(f"/rollouts/{number}/events", "rollout.ended")
        report = load.stop()
    assert "rollout.resumed" in [event["event"] for _, event in ended]
    assert ended[-1][1]["outcome"] == "done"
    assert report.failed == 0, report.text()
    deeds = shop.events("audit", "--service", shop.name)[0]["records"]
    assert ("resume", "deploy serve, which looked again") in [(deed["action"], deed["origin"]) for deed in deeds]
