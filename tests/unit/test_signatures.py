"""What may be wrong around cosign: it is missing, hangs, lies; a key that is none; names that the engine gives."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deployer.core.clock import Deadline, SystemClock
from deployer.core.cosign import surroundings
from deployer.core.errors import Refused
from deployer.drivers.ports import Image
from deployer.drivers.runtime.docker.images import names
from deployer.drivers.signatures import Cosign
from deployer.manifest import public_key
from deployer.manifest.models import Manifest
from deployer.manifest.public_key import Unfit
from tests.lab.signing import public_key as new_key
from tests.waiting import within

A, B = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"
IMAGE = Image("registry.example.com/shop:1", "sha256:1", (f"registry.example.com/shop@{A}",))
MANIFEST = Manifest.model_validate(
    {
        "service": "shop",
        "image": "shop:1",
        "port": 1,
        "verify": {"cosign": {"key": "cosign.pub", "transparency_log": False}},
    }
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cosign.pub").write_text(new_key())
    return tmp_path


def prove(folder: Path, seconds: float = 20.0) -> str:
    with pytest.raises(Refused) as refused:
        Cosign(folder).prove(MANIFEST, IMAGE, (), Deadline.after(SystemClock(), seconds))
    return str(refused.value)


def stand_in(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program named cosign first on PATH that misbehaves."""
    file = folder / "bin" / "cosign"
    file.parent.mkdir()
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{file.parent}:/usr/bin:/bin")


def test_without_cosign_it_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(folder))
    told = prove(folder)
    assert "cosign is not installed" in told
    assert "apt-get install cosign" in told


def test_a_cosign_that_hangs_is_ended(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(folder, 'sleep 300 & echo $! > "$0.pid"; wait', monkeypatch)
    patience = within()
    told = prove(folder, 1.0)
    assert re.search(r"cosign` did not end within (1|0\.\d+) s", told)
    assert not patience.passed()
    child = int((folder / "bin/cosign.pid").read_text())
    Deadline.after(SystemClock(), 10).until(lambda: not running(child), "its helper has ended, too")


def running(pid: int) -> bool:
    try:
        return (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split())[0] not in "ZX"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    "printed",
    [
        "",
        "no JSON",
        "{}",
        "[]",
        "[{}]",
        "[1]",
        f'[{{"critical":{{"image":{{"docker-manifest-digest":"{B}"}}}}}}]',
        f'[{{"critical":{{"image":"{A}"}}}}]',
    ],
)
def test_exit_code_0_alone_is_not_believed(folder: Path, printed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(folder, f"echo '{printed}'", monkeypatch)
    assert "not of this digest" in prove(folder)


def test_what_it_prints_is_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(folder, "yes", monkeypatch)
    assert "printed more than" in prove(folder)


def test_the_key_that_is_asked_about_is_the_one_that_was_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its path in the manifest may point elsewhere a moment later."""
    stand_in(folder, f'cp "${{2#--key=}}" {folder}/asked; cat {folder}/cosign.pub > /dev/null; exit 12', monkeypatch)
    prove(folder)
    assert (folder / "asked").read_text() == (folder / "cosign.pub").read_text()


def test_the_environment_has_nothing_that_weakens() -> None:
    environ = {
        "PATH": "/bin",
        "DOCKER_CONFIG": "/c",
        "COSIGN_INSECURE_IGNORE_TLOG": "true",
        "cosign_key": "k",
        "SIGSTORE_REKOR_PUBLIC_KEY": "k",
        "TUF_ROOT": "/t",
    }
    assert surroundings(environ) == {"PATH": "/bin", "DOCKER_CONFIG": "/c"}


# -- keys


def test_a_key_has_a_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(
        "-----BEGIN PUBLIC KEY-----\n"
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEQGBrf3heXAwfIm2TSfvLBrcsDfRz\n"
        "VNw9we5ur+O31pCIvQ/xp/NNPPkDhgsrfSmH7z6XVl3ko/eAVGwch1ePWw==\n"
        "-----END PUBLIC KEY-----\n"
    )
    # openssl pkey -pubin -in key -outform der | sha256sum
    assert (
        public_key.read(tmp_path, "key").fingerprint
        == "7e0d074d448516a69f0e1b295884857776d761542d0aa4d3ea457f20b1b8355a"
    )


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "holds no public key"),
        (b"\xff\xfe", "holds no public key"),
        (b"-----BEGIN PUBLIC KEY-----\n!!!\n-----END PUBLIC KEY-----\n", "holds no public key"),
        (b"-----BEGIN PUBLIC KEY-----\nMFk\n-----END PUBLIC KEY-----\n", "holds no public key"),
        (b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n", "is a private key"),
        (b"-----BEGIN CERTIFICATE-----\nMFkw\n-----END CERTIFICATE-----\n", "holds no public key"),
        (2 * b"-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n", "holds no public key"),
        (b"-----BEGIN PUBLIC KEY-----\n" + b"MFkw\n" * 20_000 + b"-----END PUBLIC KEY-----\n", "holds no public key"),
    ],
)
def test_a_file_that_is_no_key(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(Unfit, match=told):
        public_key.read(tmp_path, "key")


def test_a_key_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Unfit, match="is not there"):
        public_key.read(tmp_path, "key")
    with pytest.raises(Unfit, match="is not a file"):
        public_key.read(tmp_path, ".")


# -- names


@pytest.mark.parametrize(
    ("reference", "digests", "found"),
    [
        ("registry.example.com/shop:2.0", [f"registry.example.com/shop@{A}"], [f"registry.example.com/shop@{A}"]),
        ("registry.example.com:5000/a/shop", [f"registry.example.com:5000/a/shop@{A}"], "same"),
        ("registry.example.com:5000/shop:1", [f"registry.example.com/shop@{A}"], []),
        ("registry.example.com/shop:1", [f"registry.example.com/blog@{A}", f"other.example.com/shop@{B}"], []),
        ("registry.example.com/shop:1", [f"registry.example.com/shop@{A}", f"registry.example.com/shop@{B}"], "same"),
        (f"registry.example.com/shop@{B}", [f"registry.example.com/shop@{A}", f"registry.example.com/shop@{B}"],
         [f"registry.example.com/shop@{B}"]),
        ("nginx", [f"nginx@{A}"], "same"),
        ("docker.io/library/nginx:1", [f"nginx@{A}"], "same"),
        ("docker.io/me/app:1", [f"me/app@{A}"], "same"),
        ("me/app:1", [f"app@{A}"], []),
        ("shop:1", [], []),
        (f"sha256:{'c' * 64}", [f"registry.example.com/shop@{A}"], []),
    ],
)  # fmt: skip
def test_only_names_of_the_reference_count(reference: str, digests: list[str], found: list[str] | str) -> None:
    assert list(names(reference, digests)) == (digests if found == "same" else found)
