"""Metrics of a real Prometheus: questions and answers, who may ask, and canaries that are good for the proxy alone."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import DriverFailed
from deployer.core.secret import SecretText
from deployer.drivers.metrics import SourceMetrics
from deployer.drivers.ports import MetricSide
from deployer.drivers.traffic.haproxy import binary
from deployer.manifest.models import Metric
from tests.live.prometheus import PASSWORD, USER, Numbers, Prometheus, prometheus
from tests.live.shop import Shop
from tests.load import Load, Options
from tests.memory import MemoryRuntime, World
from tests.ports import free_port
from tests.services import require

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("metrics")]

CANDIDATE = MetricSide("candidate", "shop", "green", 42, "2.0")
STABLE = MetricSide("stable", "shop", "blue", 41, "1.0")
SECRETS = {"PASSWORD": SecretText(PASSWORD), "TOKEN": SecretText("hunter2"), "WRONG": SecretText("hunter3")}


def since(began: float, rate: float) -> Any:
    """Return a counter that grows by so much a second."""
    return lambda: (time.monotonic() - began) * rate


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    require("prometheus")
    began = time.monotonic()
    numbers = Numbers(
        {
            'errors_total{service="shop",side="stable"}': since(began, 10),
            'errors_total{service="shop",side="candidate"}': since(began, 30),
            "steady": 7,
            "nothing": float("nan"),
            "endless": float("inf"),
            'many{pod="a"}': 1,
            'many{pod="b"}': 2,
        }
    )
    with prometheus(tmp_path_factory.mktemp("p") / "p", numbers) as running:
        running.until(lambda: running.ask("count_over_time(steady[10s]) > 12") is not None, "enough was scraped")
        yield running


def read(source: Prometheus, side: MetricSide = CANDIDATE, url: str = "", **more: Any) -> float | None:
    metric = Metric.model_validate({"name": "errors", "prometheus": url or source.url, "max": 1, **more})
    return SourceMetrics(source.folder, MemoryRuntime(World())).read(
        metric, side, SECRETS, Deadline.after(SystemClock(), 60)
    )


def trouble(source: Prometheus, **more: Any) -> str:
    with pytest.raises(DriverFailed) as error:
        read(source, **more)
    assert "hunter" not in error.value.message
    return error.value.message


RATE = 'sum(rate(errors_total{service="{service}",side="{side}"}[10s]))'


@pytest.mark.long("it waits until enough was scraped", every_change=True)
def test_each_side_has_its_number(source: Prometheus) -> None:
    both = f'{RATE} / on() sum(rate(errors_total{{service="{{service}}",side="stable"}}[10s]))'
    assert read(source, CANDIDATE, query=both) == pytest.approx(3, rel=0.01), "of the same moments, however late"
    assert read(source, STABLE, query=both) == pytest.approx(1, rel=0.01)


def test_two_questions(source: Prometheus) -> None:
    pair = {"candidate": 'many{pod="a"}', "stable": 'many{pod="b"}', "margin": "2x"}

    assert (read(source, CANDIDATE, **pair), read(source, STABLE, **pair)) == (1.0, 2.0)


def test_a_range(source: Prometheus) -> None:
    asked: dict[str, Any] = {"query": 'errors_total{side="candidate"} - 0', "range": "10s", "step": "200ms"}

    least, mean, most, last = (read(source, **asked, reduce=how) or 0.0 for how in ("min", "mean", "max", "last"))

    assert 0 < least < mean < most, "it grows"
    assert last >= most


def test_a_range_of_something_steady(source: Prometheus) -> None:
    assert read(source, query="steady", range="1s", step="100ms") == 7.0


@pytest.mark.parametrize(
    "query", ["no_such_series", "nothing", "endless", "scalar(no_such_series)", "0 / (steady - 7)"]
)
def test_no_data(source: Prometheus, query: str) -> None:
    assert read(source, query=query) is None


def test_a_range_without_data(source: Prometheus) -> None:
    assert read(source, query="nothing", range="1s", step="200ms") is None


@pytest.mark.parametrize("query", ["steady", "scalar(steady)", "vector(7)", "3 + 4"])
def test_all_forms_of_one_number(source: Prometheus, query: str) -> None:
    assert read(source, query=query) == 7.0


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("many", "the query gives 2 series, one is needed: wrap it in sum() or max()"),
        ("sum(rate(", "bad_data: "),
        ("steady[5s]", "the query gives a matrix, a number is needed"),
        ('"seven"', "the query gives a string"),
    ],
)
def test_a_question_without_a_single_answer(source: Prometheus, query: str, told: str) -> None:
    assert told in trouble(source, query=query)


def test_a_page_that_is_no_prometheus(source: Prometheus) -> None:
    assert f"{source.url}/graph: HTTP 404" in trouble(source, url=f"{source.url}/graph", query="up")


# -- who may ask


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    require("prometheus")
    with prometheus(tmp_path_factory.mktemp("g") / "p", Numbers({"steady": 7}), guarded=True) as running:
        running.until(lambda: running.ask("steady") == 7, "it was scraped")
        yield running


def test_a_password_over_tls(guarded: Prometheus) -> None:
    good: dict[str, Any] = {"query": "steady", "ca": "own.pem", "auth": {"user": USER, "password": "PASSWORD"}}

    assert read(guarded, **good) == 7.0
    assert "HTTP 401: 'Unauthorized'" in trouble(guarded, **good | {"auth": {"user": USER, "password": "WRONG"}})
    assert "HTTP 401" in trouble(guarded, **good | {"auth": None})


def test_a_certificate_that_nobody_vouches_for(guarded: Prometheus) -> None:
    told = trouble(guarded, query="steady", auth={"user": USER, "password": "PASSWORD"})

    assert "its certificate was not accepted: self-signed certificate" in told
    address = guarded.url.replace("localhost", "127.0.0.1")
    assert "its certificate was not accepted: " in trouble(guarded, url=address, query="steady", ca="own.pem")


def test_a_token_at_a_proxy_before_it(source: Prometheus, tmp_path: Path) -> None:
    require("haproxy")
    port = free_port()
    (tmp_path / "proxy.cfg").write_text(
        "defaults\n  mode http\n  timeout client 30s\n  timeout connect 30s\n  timeout server 30s\n"
        f"frontend front\n  bind 127.0.0.1:{port}\n"
        '  http-request deny deny_status 401 unless { req.hdr(authorization) -m str "Bearer hunter2" }\n'
        f"  default_backend back\nbackend back\n  server one 127.0.0.1:{source.port}\n"
    )
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen([binary.find().path, "-db", "-f", tmp_path / "proxy.cfg"]) as proxy:
        try:
            source.until(lambda: _open(port), "the proxy is up")
            assert read(source, url=url, query="steady", auth={"bearer": "TOKEN"}) == 7.0
            assert "HTTP 401" in trouble(source, url=url, query="steady", auth={"bearer": "WRONG"})
            assert "HTTP 401" in trouble(source, url=url, query="steady")
        finally:
            proxy.terminate()


def _open(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# -- canaries


@pytest.fixture
def shop_with_metrics(process_shop: Shop) -> Iterator[tuple[Shop, Numbers, Prometheus]]:
    """Yield a service that is fine for the proxy, whose own numbers a Prometheus knows."""
    require("prometheus")
    numbers = Numbers(
        {
            f'payments_failed{{service="{process_shop.name}",version="1.0"}}': 0.01,
            f'payments_failed{{service="{process_shop.name}",version="2.0"}}': 0.01,
        }
    )
    with prometheus(process_shop.folder / "prometheus", numbers) as source:
        source.until(lambda: source.ask("count(payments_failed)") == 2, "it was scraped")
        process_shop.write(
            strategy={"canary": {"steps": [{"share": 50, "for": "4s"}], "bake": 0, "within": "10s"}},
            judge={
                "requests": 5,
                "metrics": [
                    {
                        "name": "failed payments",
                        "prometheus": source.url,
                        "query": 'payments_failed{service="{service}",version="{version}"}',
                        "margin": "2x",
                        "max": 0.2,
                        "interval": "500ms",
                        "failures": 3,
                    }
                ],
            },
        )
        process_shop.version("2.0")
        yield process_shop, numbers, source


def told(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] == kind]


@pytest.mark.long("a whole canary")
def test_a_canary_that_is_good_everywhere(shop_with_metrics: tuple[Shop, Numbers, Prometheus]) -> None:
    shop, _, _ = shop_with_metrics
    with Load(shop.url, Options(rate=40, websocket_may_be_cut=True)) as load:
        load.until(lambda now: now.answered > 30, "the load runs")
        events = shop.events("canary", "--version", "2.0")
        report = load.stop()
    assert report.failed == 0, report.text()
    (metric,) = told(events, "metric")
    assert (metric["verdict"], metric["candidate"], metric["stable"], metric["limit"]) == ("no worse", 0.01, 0.01, 0.2)


@pytest.mark.long("a canary until a metric finds it bad", every_change=True)
def test_a_canary_that_only_a_metric_finds_bad(shop_with_metrics: tuple[Shop, Numbers, Prometheus]) -> None:
    shop, numbers, source = shop_with_metrics
    bad = f'payments_failed{{service="{shop.name}",version="2.0"}}'
    numbers.series[bad] = 0.3
    source.until(lambda: source.ask(bad) == 0.3, "it was scraped")
    with Load(shop.url, Options(rate=40)) as load:
        load.until(lambda now: now.answered > 30, "the load runs")
        events = shop.events("canary", "--version", "2.0", expect=3)
        report = load.stop()
    assert report.failed == 0, report.text()
    ended = told(events, "rollout.ended")[0]
    assert "r2 is worse: failed payments: candidate 0.3, allowed is at most 0.2, 3 readings in a row" in ended["text"]
    assert [m["verdict"] for m in told(events, "metric")] == ["inconclusive", "inconclusive", "worse"]
    assert shop.get().text.strip() == "1.0"
    assert shop.status()["share"] == 0


@pytest.mark.long("a canary that waits for metrics until a deadline")
def test_a_canary_whose_prometheus_is_gone_holds(shop_with_metrics: tuple[Shop, Numbers, Prometheus]) -> None:
    shop, _, source = shop_with_metrics
    source.kill()
    shop.manifest["judge"]["undecided"] = "hold"
    shop.write(strategy={"canary": {"steps": [50], "bake": 0, "within": "10s"}})  # a fixed time has a longer deadline
    with Load(shop.url, Options(rate=40)) as load:
        load.until(lambda now: now.answered > 30, "the load runs")
        events = shop.events("canary", "--version", "2.0", expect=7)
        report = load.stop()
    assert report.failed == 0, report.text()
    held = told(events, "rollout.paused")[0]
    assert "inconclusive: r2 at 50%" in held["text"]
    assert f"failed payments: {source.url}: connection refused" in held["text"]
    assert shop.status()["share"] == 5000
