"""What a manifest asks for besides a plain HTTP service: shared entries, TLS, tcp, destinations, own strategies."""

from __future__ import annotations

import socket
import ssl

import h2.connection
import h2.events
import pytest
import requests

from tests.live.certificates import certificate
from tests.live.conftest import Make
from tests.live.shop import Shop
from tests.load import Load, Options
from tests.ports import free_port
from tests.waiting import within

pytestmark = pytest.mark.live

# -- one address for several services


# -- TLS


@pytest.mark.long("a deploy under load, with TLS", every_change=True)
def test_tls_with_a_certificate_of_the_user(make_shop: Make) -> None:
    shop = make_shop("process")
    pem, port = certificate(shop.folder / "site.pem", "localhost"), free_port()
    tls = {"certificates": ["site.pem"], "listen": f"127.0.0.1:{port}", "hsts": "1d"}
    shop.write(traffic={"listen": f"127.0.0.1:{shop.port}", "tls": tls})
    shop.version("1.0")
    shop.version("2.0")
    shop.deploy("up", "--version", "1.0")
    moved = requests.get(f"http://localhost:{shop.port}/basket?item=7", allow_redirects=False, timeout=10)
    assert (moved.status_code, moved.headers["Location"]) == (308, f"https://localhost:{port}/basket?item=7")
    secure = f"https://localhost:{port}"
    with Load(secure, Options(rate=40, kinds=("fresh", "busy", "sticky", "post"), ca=str(pem))) as load:
        load.until(lambda now: now.answered > 30, "the load runs")
        shop.deploy("bluegreen", "--bake", "1s", "--version", "2.0")
        report = load.stop()
    assert report.failed == 0, report.text()
    assert set(report.by_version) == {"1.0", "2.0"}
    answer = requests.get(secure, verify=str(pem), timeout=10)
    assert (answer.headers["X-Version"], answer.headers["Strict-Transport-Security"]) == ("2.0", "max-age=86400")
    assert over_http2(port, str(pem)) == ("200", "2.0")


def over_http2(port: int, pem: str) -> tuple[str, str]:
    """Ask over HTTP/2, chosen by ALPN; return status and version."""
    context = ssl.create_default_context(cafile=pem)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        assert secure.selected_alpn_protocol() == "h2"
        connection = h2.connection.H2Connection()
        connection.initiate_connection()
        names = {":method": "GET", ":scheme": "https", ":authority": f"localhost:{port}", ":path": "/version"}
        connection.send_headers(connection.get_next_available_stream_id(), list(names.items()), end_stream=True)
        secure.sendall(connection.data_to_send())
        while data := secure.recv(65536):
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    headers = {str(text(k)): text(v) for k, v in event.headers}
                    return headers[":status"], headers["x-version"]
            secure.sendall(connection.data_to_send())
    raise AssertionError("closed without a response")


def text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


# -- tcp


# -- destinations, strategies, nothing to do


@pytest.mark.long("two services", every_change=True)
def test_a_destination_is_a_service_of_its_own(process_shop: Shop, make_shop: Make) -> None:
    shop, staging = process_shop, make_shop("process")
    staging.name, staging.folder, staging.state = f"{shop.name}-staging", shop.folder, shop.state
    (shop.folder / "deploy.staging.yml").write_text(
        f"replicas: 1\nenv: {{STAGE: staging}}\ntraffic: {{listen: '127.0.0.1:{staging.port}'}}\n"
    )
    shop.version("2.0")
    shop.deploy("up", "-d", "staging", "--version", "2.0")
    assert (shop.get().headers["X-Version"], staging.get().headers["X-Version"]) == ("1.0", "2.0")
    status = staging.events("status", "--service", staging.name)[0]
    assert [[i["name"] for i in e["instances"]] for e in status["environments"]] == [[f"{staging.name}-r1-1"]]
    shop.deploy("down", "-y", "--service", staging.name)
    assert shop.get().headers["X-Version"] == "1.0"
    within().until(lambda: refused(staging), "a worker of the proxy that leaves may not have been told yet")


def refused(shop: Shop) -> bool:
    """Return whether nobody listens at the address of a service any more."""
    try:
        shop.get()
    except requests.exceptions.ConnectionError:
        return True
    return False


HALVES = '''\
"""Move everyone after a short look at half of them."""

from pydantic import BaseModel, ConfigDict, Field

from deployer.manifest.units import Seconds
from deployer.model import Observed, Release
from deployer.planning.plan import Plan
from deployer.planning.recipes import first_deploy, settle, share, twin, way_back
from deployer.planning.steps import Watch


class Options(BaseModel):
    """How long half of the users are watched."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    look: Seconds = Field(20.0, description="Time with half of the users on the new release.")


def plan(observed: Observed, release: Release, options: Options) -> Plan:
    """Twin, half of the users, watch, promotion."""
    if observed.stable is None:
        return first_deploy(observed, release, "halves")
    number, colour, seconds = release.number, observed.colour, options.look
    watch = Watch(seconds=seconds, share=5000, release=number, colour=colour, deadline=seconds + 30)
    forward = (*twin(observed, release), share(5000), watch, *settle(observed, release))
    return Plan.make(
        release.service, "halves", observed.stable.number, number, forward, way_back(observed, release)
    )
'''


@pytest.mark.long("a rollout under load", every_change=True)
def test_a_strategy_beside_the_manifest(process_shop: Shop) -> None:
    shop = process_shop
    (shop.folder / "strategies").mkdir()
    (shop.folder / "strategies" / "halves.py").write_text(HALVES)
    shop.version("2.0")
    told = shop.deploy("halves", "--help").stdout
    assert "Move everyone after a short look at half of them." in told
    assert "--look" in told
    assert "[default: 20s]" in told
    with Load(shop.url, Options(rate=60, kinds=("fresh",))) as load:
        load.until(lambda now: now.answered > 30, "the load runs")
        load.mark("began")
        brought = shop.told("halves", "--look", "2s", "--version", "2.0")
        seen = load.counters().answered
        load.until(lambda now: now.answered > seen + 30, "users of the new release")
        report = load.stop()
    assert 5000 in brought.shares, "half of the users came first"
    assert report.failed == 0, report.text()
    assert report.after("began").by_version["2.0"] > 20
    assert shop.get().headers["X-Version"] == "2.0"
    assert shop.events("history")[0]["rollouts"][0]["strategy"] == "halves"


def test_the_same_release_again_is_nothing_to_do(process_shop: Shop) -> None:
    shop = process_shop
    before = shop.status()
    assert "nothing to do" in shop.deploy("up", "--version", "1.0").stderr
    assert "nothing to deploy" in shop.deploy("plan", "--check", "--version", "1.0").stderr
    shop.version("2.0")
    assert "2.0" in shop.deploy("plan", "--check", "--version", "2.0", expect=10).stdout
    assert shop.status()["environments"] == before["environments"], "nothing was touched"
    assert len(shop.events("history")[0]["rollouts"]) == 1
