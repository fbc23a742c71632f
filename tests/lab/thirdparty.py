"""A real application of somebody else in two real versions: pypiserver, a package index with a health endpoint.

    with built("index:2.3.2", client, version="2.3.2") as identity: ...
    command = directory(folder, "2.4.2")          # for runtime `process`; listens on $PORT

It answers HEALTH with 200 and names its version on its welcome page, "/", where VERSION_PATTERN finds it.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import pytest

from tests.lab.archive import Image, layer
from tests.lab.image import _python, remove

VERSIONS = ("2.3.2", "2.4.2")
HEALTH = "/health"
PORT = 8080
VERSION_PATTERN = r"is running version ([0-9.]+) of"

# With waitress installed, pypiserver's `--server auto` takes it; its own default takes one request at a time.
PACKAGES = "pypiserver=={version}", "waitress==3.0.2"
# Process 1 of a container has no default signal handlers: without one of its own it would wait for SIGKILL.
START = """\
import os, runpy, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "lib"))
port = os.environ.get("PORT", "8080")
sys.argv = ["pypiserver", "run", "--host", os.environ.get("HOST", "0.0.0.0"), "--port", port, "--server", "auto",
            "--authenticate", ".", "--passwords", ".", "--disable-fallback", os.path.join(here, "packages")]
runpy.run_module("pypiserver", run_name="__main__")
"""
CACHE = Path(__file__).resolve().parents[2] / ".cache" / "thirdparty"
INSTALL_WITHIN = 180  # seconds


def application(version: str) -> Path:
    """Return the folder of the installed application, made once; skips the test (in CI: fails it) when pip cannot."""
    recipe = hashlib.sha256("".join((sys.version, START, *PACKAGES)).encode()).hexdigest()[:12]
    target = CACHE / f"{version}-{recipe}"
    if target.exists():
        return target
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        made = Path(folder) / "app"
        wanted = [name.format(version=version) for name in PACKAGES]
        pip = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-compile",
            "--target",
            str(made / "lib"),
            *wanted,
        ]
        done = subprocess.run(pip, capture_output=True, text=True, timeout=INSTALL_WITHIN)
        if done.returncode:
            _missing(f"pip cannot install {' '.join(wanted)}: {done.stderr.strip().splitlines()[-1:]}")
        (made / "start.py").write_text(START)
        (made / "packages").mkdir()
        (made / "packages" / "hello-1.0.tar.gz").write_bytes(b"")  # an index that serves something
        if not target.exists():  # several test runs may do this at the same time
            made.rename(target)
    return target


def build(reference: str, *, version: str, client: docker.DockerClient) -> str:
    """Load the application as an image into the engine and give its id."""
    python = Path(os.path.realpath(sys.executable))
    image = Image(
        (_base(), layer(_files(application(version), "/srv"))),
        entrypoint=(str(python), "-S", "/srv/start.py"),
        env={"PATH": "/usr/bin:/bin"},
        labels={"org.opencontainers.image.version": version},
        port=PORT,
    )
    (loaded,) = client.images.load(image.archive(reference))
    assert isinstance(loaded.id, str)
    return loaded.id


@contextmanager
def built(reference: str, client: docker.DockerClient, *, version: str) -> Iterator[str]:
    """Like `build`, and remove the image at the end."""
    identity = build(reference, version=version, client=client)
    try:
        yield identity
    finally:
        remove(identity, client)


def directory(target: Path, version: str) -> tuple[str, ...]:
    """Put the application into a directory for runtime `process`; gives the command that starts it there."""
    shutil.copytree(application(version), target, dirs_exist_ok=True)
    return (sys.executable, "-S", "start.py")


@functools.cache
def _base() -> bytes:
    """The layer with the interpreter, the same for both versions."""
    return layer(_python(Path(os.path.realpath(sys.executable))))


def _files(folder: Path, target: str) -> Iterator[tuple[Path, str]]:
    for file in sorted(folder.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            yield file, f"{target}/{file.relative_to(folder)}"


def _missing(reason: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
