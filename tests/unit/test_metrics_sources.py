"""Sources of metrics: what is sent, what an answer means, and what is said when there is none."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import DriverFailed
from deployer.core.secret import SecretText
from deployer.drivers.metrics import SourceMetrics
from deployer.drivers.metrics.number import Unreadable, number_in
from deployer.drivers.ports import MetricSide
from deployer.manifest.models import Metric
from tests.memory import MemoryRuntime, World

CANDIDATE = MetricSide("candidate", "shop", "green", 42, "2.0")
STABLE = MetricSide("stable", "shop", "blue", 41, "1.9/x y")
SECRETS = {"TOKEN": SecretText("hunter2\n"), "LINES": SecretText("a\nb")}

# -- numbers


@pytest.mark.parametrize(
    ("text", "path", "number"),
    [
        ("0.25", None, 0.25),
        (" 1e-3\n", None, 0.001),
        ("", None, None),
        ("NaN", None, None),
        ("+Inf", None, None),
        ('{"a": {"b": 2}}', "$.a.b", 2.0),
        ('{"a": [1, 2, 3]}', "$.a[-1]", 3.0),
        ('{"a": [{"n": "x", "v": 1}, {"n": "y", "v": 2}]}', "$.a[?@.n == 'y'].v", 2.0),
        ('{"a": "0.5"}', "$.a", 0.5),
        ('{"a": null}', "$.a", None),
        ('{"b": 1}', "$.a", None),
        ('{"a": NaN}', "$.a", None),
        ("7", "$", 7.0),
        ('"7"', "$", 7.0),
        ('"{\\"a\\": 7}"', "$.a", None),  # a text, whatever is written in it
        ('"{not JSON"', "$.a", None),
    ],
)
def test_the_number_of_a_text(text: str, path: str | None, number: float | None) -> None:
    assert number_in(text, path) == number


@pytest.mark.parametrize(
    ("text", "path", "told"),
    [
        ("many", None, "'many' is not a number"),
        ("<html>", "$.a", "the response is not JSON: '<html>'"),
        ("", "$.a", "the response is not JSON: ''"),
        ("[" * 100_000, "$.a", "the response is not JSON"),
        ('{"a": [1, 2]}', "$.a[*]", "$.a[*] leads to 2 values, one is needed"),
        ('{"a": true}', "$.a", "'True' is not a number"),
        ('{"a": {}}', "$.a", "'{}' is not a number"),
        ('{"a": "fast"}', "$.a", "'fast' is not a number"),
        ('"{not JSON"', "$", "'{not JSON' is not a number"),
    ],
)
def test_what_is_no_number(text: str, path: str | None, told: str) -> None:
    with pytest.raises(Unreadable) as error:
        number_in(text, path)

    assert told in str(error.value)


# -- HTTP


@dataclass
class Asked:
    path: str
    headers: dict[str, str]
    body: str


@dataclass
class Source:
    """An HTTP server that answers as a test says."""

    url: str
    answer: Callable[[BaseHTTPRequestHandler], None]
    asked: list[Asked] = field(default_factory=list)

    def says(self, status: int, body: str, **headers: str) -> None:
        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            for name, value in headers.items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(body.encode())

        self.answer = answer


@pytest.fixture
def source() -> Iterator[Source]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
            made.asked.append(Asked(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            try:
                made.answer(self)
            except (BrokenPipeError, ConnectionResetError):
                return  # the client had enough, which is what the test is about

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made = Source(f"http://127.0.0.1:{server.server_port}", lambda _handler: None)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield made
    server.shutdown()
    thread.join(60)
    server.server_close()


def read(folder: Path, side: MetricSide = CANDIDATE, seconds: float = 30.0, **more: Any) -> float | None:
    metric = Metric.model_validate({"name": "errors", "max": 1, **more})
    return SourceMetrics(folder, MemoryRuntime(World())).read(
        metric, side, SECRETS, Deadline.after(SystemClock(), seconds)
    )


def trouble(folder: Path, **more: Any) -> str:
    with pytest.raises(DriverFailed) as error:
        read(folder, **more)
    assert "hunter2" not in str(error.value)
    return error.value.message


def test_an_endpoint_is_asked_for_a_side(source: Source, tmp_path: Path) -> None:
    source.says(200, '{"stable": {"rate": 0.5}}')

    value = read(tmp_path, STABLE, http=f"{source.url}/of/{{version}}?r={{release}}", value="$.{side}.rate")

    assert value == 0.5
    assert source.asked[0].path == "/of/1.9%2Fx%20y?r=41"


@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [
        ({"bearer": "TOKEN"}, "authorization", "Bearer hunter2"),
        ({"user": "dana", "password": "TOKEN"}, "authorization", "Basic ZGFuYTpodW50ZXIy"),
        ({"header": {"X-Api-Key": "TOKEN"}}, "x-api-key", "hunter2"),
        (None, "authorization", None),
    ],
)
def test_credentials(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, auth: Any, header: str, value: str | None
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    source.says(200, "1")

    assert read(tmp_path, http=source.url, auth=auth, header={"X-Scope-OrgID": "team"}) == 1.0
    assert source.asked[0].headers.get(header) == value
    assert source.asked[0].headers["x-scope-orgid"] == "team"


@pytest.mark.parametrize(
    ("auth", "told"),
    [
        ({"bearer": "LINES"}, "the secret LINES is not one line of text"),
        ({"bearer": "GONE"}, "the release keeps no value of the secret GONE"),
    ],
)
def test_credentials_that_cannot_be_sent(source: Source, tmp_path: Path, auth: Any, told: str) -> None:
    assert told in trouble(tmp_path, http=source.url, auth=auth)
    assert source.asked == []


def test_an_answer_that_repeats_the_secret(source: Source, tmp_path: Path) -> None:
    source.says(401, "no such token: hunter2")

    said = trouble(tmp_path, http=source.url, auth={"bearer": "TOKEN"})

    assert said == f"{source.url}: HTTP 401: 'no such token: ***'"


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (503, "", "HTTP 503"),
        (404, "<html><body>Not found", "HTTP 404"),
        (200, "<html>", "the response is not JSON: '<html>'"),
        (200, '{"a": 1', "the response is not JSON"),
        (200, "x" * (2 << 20), "the response is larger than 1024 KiB"),
    ],
)
def test_an_answer_without_a_number(source: Source, tmp_path: Path, status: int, body: str, told: str) -> None:
    source.says(status, body)

    said = trouble(tmp_path, http=f"{source.url}/numbers?key=private", value="$.a")

    assert said.startswith(f"{source.url}/numbers: {told}")
    assert "private" not in said


def test_a_redirect_is_named_and_not_followed(source: Source, tmp_path: Path) -> None:
    source.says(302, "", Location="http://127.0.0.1:1/login?to=x")

    said = trouble(tmp_path, http=source.url, auth={"bearer": "TOKEN"})

    assert "redirects to http://127.0.0.1:1/login; name that instead" in said
    assert len(source.asked) == 1


def test_a_compressed_answer(source: Source, tmp_path: Path) -> None:
    body = gzip.compress(json.dumps({"a": 3, "fill": "x" * 200_000}).encode())

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.end_headers()
        handler.wfile.write(body)

    source.answer = answer

    assert read(tmp_path, http=source.url, value="$.a") == 3.0


def slow(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(1.5)


def dribbling(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(20):
        handler.wfile.write(b"1")
        time.sleep(0.1)


@pytest.mark.parametrize("answer", [slow, dribbling])
def test_a_source_that_takes_too_long(
    source: Source, tmp_path: Path, answer: Callable[[BaseHTTPRequestHandler], None]
) -> None:
    source.answer = answer

    assert trouble(tmp_path, http=source.url, seconds=0.4).endswith("no response within 0.4 s")


def test_a_source_that_is_down(tmp_path: Path) -> None:
    with socket.socket() as bound:  # bound, but nobody listens
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"

        assert trouble(tmp_path, http=url) == f"{url}: connection refused"
        assert trouble(tmp_path, prometheus=url, query="up") == f"{url}: connection refused"


def test_a_name_that_nobody_knows(tmp_path: Path) -> None:
    assert "the name cannot be resolved" in trouble(tmp_path, http="http://no-such-machine.invalid/")


def test_a_source_that_hangs_up(source: Source, tmp_path: Path) -> None:
    source.answer = lambda handler: handler.connection.shutdown(socket.SHUT_RDWR)

    assert "a response that cannot be understood" in trouble(tmp_path, http=source.url)


# -- Prometheus, as far as a real one does not behave so


def test_a_question_to_prometheus(source: Source, tmp_path: Path) -> None:
    source.says(200, '{"status": "success", "data": {"resultType": "scalar", "result": [1, "2.5"]}}')
    query = 'rate(errors{service="{service}",side="{side}",version="{version}"}[1m])'

    value = read(tmp_path, MetricSide("stable", "shop", "blue", 41, 'a"b'), prometheus=f"{source.url}/", query=query)

    assert value == 2.5
    assert source.asked[0].path == "/api/v1/query"
    assert parse_qs(source.asked[0].body)["query"] == [r'rate(errors{service="shop",side="stable",version="a\"b"}[1m])']


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (200, "<html>", "the response is not JSON"),
        (200, "[]", "the response is not one of Prometheus' API"),
        (
            200,
            '{"status": "success", "data": {"resultType": "string", "result": [1, "x"]}}',
            "the query gives a string",
        ),
        (200, '{"status": "success", "data": {"resultType": "vector", "result": [{}]}}', "not one of Prometheus' API"),
        (200, '{"status": "success", "data": {"resultType": "vector", "result": [5]}}', "not one of Prometheus' API"),
        (200, '{"status": "success", "data": {"resultType": "vector", "result": {}}}', "the query gives a vector"),
        (502, "bad gateway", "HTTP 502: 'bad gateway'"),
        (401, "Unauthorized\n", "HTTP 401: 'Unauthorized'"),
    ],
)
def test_what_is_no_answer_of_prometheus(source: Source, tmp_path: Path, status: int, body: str, told: str) -> None:
    source.says(status, body)

    assert told in trouble(tmp_path, prometheus=source.url, query="up")


# -- commands


def shell(script: str) -> list[str]:
    return ["sh", "-c", script, "metric", "{side}", "{release}"]


def test_a_command_prints_the_number(tmp_path: Path) -> None:
    (tmp_path / "candidate").write_text("0.5")

    assert read(tmp_path, command=shell('cat "$1"')) == 0.5
    assert read(tmp_path, command=shell('echo "{\\"r\\": [$2]}"'), value="$.r[0]") == 42.0
    assert read(tmp_path, command=shell("true")) is None
    assert read(tmp_path, command=["awk", "BEGIN {print 3}"]) == 3.0


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (
            shell("echo half way >&2; echo no such table >&2; exit 3"),
            "failed with exit code 3: half way / no such table",
        ),
        (shell("echo many"), "'many' is not a number"),
        (shell("sleep 60"), "did not end within"),
        (["./not-there"], "./not-there: `./not-there` cannot be started: No such file"),
    ],
)
def test_a_command_that_gives_none(tmp_path: Path, command: list[str], told: str) -> None:
    assert told in trouble(tmp_path, command=command, seconds=1.0)
