"""The examples load, the JSON Schema takes them, and the program of one does what it says."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from cryptography import x509  # comes with ansible-core
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jsonschema import Draft202012Validator

from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import DriverFailed, ManifestRefused
from deployer.drivers.metrics import SourceMetrics
from deployer.drivers.ports import MetricSide
from deployer.manifest.load import load
from deployer.manifest.models import Manifest
from deployer.manifest.schema import schema
from tests.memory import MemoryRuntime, World

EXAMPLES = Path(__file__).parents[2] / "examples"
VALIDATOR = Draft202012Validator(schema())
FILES = sorted(EXAMPLES.glob("*/deploy*.yml"))


def pem(folder: Path, *, key: bool = True, passphrase: bytes = b"", foreign: bool = False) -> Path:
    """Write a certificate for shop.example.com as a user has it: chain and key in one file."""
    private, other = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "shop.example.com")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(private, hashes.SHA256())
    )
    hidden = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    written = (other if foreign else private).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden
    )
    file = folder / "shop.pem"
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + (written if key else b""))
    return file


def load_example(name: str, folder: Path, destination: str = "") -> Manifest:
    copy = shutil.copytree(EXAMPLES / name, folder / name)
    pem(folder)
    return load(copy, destination=destination, environ={"CERTIFICATES": str(folder)}).manifest


@pytest.mark.parametrize("name", sorted({file.parent.name for file in FILES}))
def test_it_loads(name: str, tmp_path: Path) -> None:
    manifest = load_example(name, tmp_path)

    assert Manifest.from_record(manifest.record()) == manifest


@pytest.mark.parametrize("file", [f for f in FILES if f.name == "deploy.yml"], ids=lambda file: file.parent.name)
def test_the_schema_takes_it(file: Path) -> None:
    VALIDATOR.validate(yaml.safe_load(file.read_text()))


def test_five_lines_are_enough(tmp_path: Path) -> None:
    assert len((EXAMPLES / "minimal/deploy.yml").read_text().splitlines()) == 5
    assert load_example("minimal", tmp_path).traffic.domains == ("shop.example.com",)


def test_the_overlay_of_web(tmp_path: Path) -> None:
    manifest = load_example("web", tmp_path, "staging")

    assert (manifest.service, manifest.replicas, manifest.strategy) == ("shop-staging", 1, "bluegreen")
    assert manifest.env == {"LOG_LEVEL": "info", "PUBLIC_URL": "https://staging.shop.example.com"}
    assert manifest.traffic.force == Manifest(service="x", image="x", port=1).traffic.force
    assert manifest.traffic.tls is not None
    assert sorted(manifest.secrets) == ["DATABASE_URL", "SENTRY_DSN", "SESSION_KEY"]


def test_the_command_of_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = load_example("metrics", tmp_path)
    by_name = {metric.name: metric for metric in manifest.judge.metrics}
    psql = tmp_path / "psql"
    psql.write_text('#!/bin/sh\ncase "$*" in *release=42) echo 0.031 ;; *) echo no such release >&2; exit 3 ;; esac\n')
    psql.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def read(release: int) -> float | None:
        side = MetricSide("candidate", "shop", "green", release, "2.0")
        metric = by_name["visits that end with an order"]
        return SourceMetrics(tmp_path / "metrics", MemoryRuntime(World())).read(
            metric, side, {}, Deadline.after(SystemClock(), 5)
        )

    assert {metric.source for metric in by_name.values()} == {"prometheus", "http", "command", "logs"}
    assert read(42) == 0.031
    with pytest.raises(DriverFailed, match="failed with exit code 3: no such release"):
        read(43)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"key": False}, "holds no private key"),
        ({"passphrase": b"x"}, "its key has a passphrase"),
        ({"foreign": True}, "its key belongs to another certificate"),
    ],
)
def test_a_certificate_that_no_server_can_use(tmp_path: Path, options: dict[str, object], told: str) -> None:
    file = tmp_path / "deploy.yml"
    file.write_text("service: a\nimage: a\nport: 1\ntraffic: {tls: {certificates: [shop.pem]}}\n")
    pem(tmp_path, **options)  # type: ignore[arg-type]

    with pytest.raises(ManifestRefused, match=f"deploy.yml:4: .*shop.pem: {told}"):
        load(file, environ={})


@pytest.mark.parametrize("name", ["a b.pem", "[x].pem", "#.pem", "a,b.pem", "é.pem"])
def test_a_certificate_whose_path_the_proxy_cannot_be_told(tmp_path: Path, name: str) -> None:
    file = tmp_path / "deploy.yml"
    file.write_text(f"service: a\nimage: a\nport: 1\ntraffic: {{tls: {{certificates: ['{name}']}}}}\n")
    pem(tmp_path).rename(tmp_path / name)

    with pytest.raises(
        ManifestRefused, match=r"deploy.yml:4: traffic.tls.certificates\[0\]: .* the proxy cannot use the path"
    ):
        load(file, environ={})


def test_a_damaged_certificate(tmp_path: Path) -> None:
    file = tmp_path / "deploy.yml"
    file.write_text("service: a\nimage: a\nport: 1\ntraffic: {tls: {certificates: [shop.pem]}}\n")
    text = pem(tmp_path).read_text()
    (tmp_path / "shop.pem").write_text(text.replace("\nMII", "\nMI?"))

    with pytest.raises(ManifestRefused, match=r"shop.pem: is damaged"):
        load(file, environ={})


def test_the_program_of_process_serves_and_ends_in_peace(free_port: int) -> None:
    environ = {**os.environ, "PORT": str(free_port), "HOST": "127.0.0.1", "GREETING": "Hello"}
    program = [sys.executable, "-u", str(EXAMPLES / "process/app/serve.py")]
    with subprocess.Popen(
        program, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == f"serving on 127.0.0.1:{free_port}\n"
            connection = http.client.HTTPConnection("127.0.0.1", free_port, timeout=20)
            answers = [(path, ask(connection, path)) for path in ("/up", "/", "/nowhere")]
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0, "an idle connection must not hold it up"
            assert process.stdout.read() == "done\n"
        finally:
            process.kill()
    connection.close()
    assert [(path, status) for path, (status, _) in answers] == [("/up", 200), ("/", 200), ("/nowhere", 404)]
    assert answers[1][1][1].startswith("Hello from process")


def ask(connection: http.client.HTTPConnection, path: str) -> tuple[int, str]:
    connection.request("GET", path)
    response = connection.getresponse()
    return response.status, response.read().decode()
