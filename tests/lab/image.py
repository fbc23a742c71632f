"""Images of the test app, made here: `build("shop:1", version="1")` loads one into the engine."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import docker
import docker.errors
import pytest

from tests.lab.archive import Image, layer

HERE = Path(__file__).parent
COMPILE = ("gcc", "-O2", "-static", "-Wall", "-Wextra", "-Werror")
# Parts of the standard library that the test app never imports; they are most of its size.
LEFT_OUT = {"test", "idlelib", "tkinter", "ensurepip", "lib2to3", "pydoc_data", "turtledemo", "__pycache__"}
LEFT_OUT |= {"site-packages", "dist-packages", "config"}


def build(
    reference: str,
    *,
    version: str = "1",
    env: Mapping[str, str] | None = None,
    health: bool = False,
    user: str = "",
    client: docker.DockerClient | None = None,
) -> str:
    """Load the test app as an image into the engine and give its id; `health` adds a HEALTHCHECK."""
    layers, program = base()
    image = Image(
        layers,
        entrypoint=program,
        env={"PATH": "/usr/bin:/bin", "VERSION": version, **(env or {})},
        # An id of its own for each reference: tests that run beside this one may remove "their" image.
        labels={"reference": reference},
        user=user,
        health=(*program, "health") if health else (),
    )
    engine = client or docker.from_env()
    try:
        loaded = engine.images.load(image.archive(reference))
    finally:
        if client is None:
            engine.close()
    assert len(loaded) == 1
    identity = loaded[0].id
    assert isinstance(identity, str)
    return identity


@contextmanager
def built(reference: str, client: docker.DockerClient, **options: object) -> Iterator[str]:
    """Like `build`, and remove the image (with every tag that points to it) at the end."""
    identity = build(reference, client=client, **options)  # type: ignore[arg-type]
    try:
        yield identity
    finally:
        remove(identity, client)


def named(client: docker.DockerClient, **filters: bool) -> dict[str, tuple[str, ...]]:
    """Return the names of all images by id: tags, and those with a digest.

    `client.images.list()` asks for each one again, and fails when another test has removed it meanwhile.
    """
    found = client.api.images(filters=filters)
    return {each["Id"]: (*(each["RepoTags"] or ()), *(each["RepoDigests"] or ())) for each in found}


def remove(identity: str, client: docker.DockerClient) -> None:
    """Remove an image and all its tags; one that is gone is no error."""
    try:
        client.images.remove(identity, force=True)
    except docker.errors.ImageNotFound:
        return


@functools.cache
def base() -> tuple[tuple[bytes, ...], tuple[str, ...]]:
    """Return the layers of the test app and the command that starts it: a C program if it can be built, else Python."""
    program = binary()
    if program is not None:
        return (layer([(program, "/app")]),), ("/app",)
    python = Path(os.path.realpath(sys.executable))
    return (layer(_python(python)), layer([(HERE / "app.py", "/app.py")])), (str(python), "-S", "/app.py")


def binary(name: str = "app") -> Path | None:
    """Return a compiled test app, made once for all test runs of this user; None without a C compiler."""
    if shutil.which(COMPILE[0]) is None:
        return None
    source = HERE / f"{name}.c"
    key = hashlib.sha256(source.read_bytes() + " ".join(COMPILE).encode()).hexdigest()[:16]
    target = Path(tempfile.gettempdir()) / f"deployer-lab-{os.getuid()}" / f"{name}-{key}"
    if not target.exists():
        target.parent.mkdir(mode=0o700, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            made = Path(folder) / name
            subprocess.run([*COMPILE, str(source), "-o", str(made)], check=True, timeout=120)
            made.rename(target)  # several test runs may do this at the same time
    return target


def directory(target: Path, program: str = "python") -> tuple[str, ...]:
    """Put the test app into a directory for runtime `process`; gives the command that starts it there."""
    target.mkdir(parents=True, exist_ok=True)
    if program == "c":
        made = binary()
        if made is None:
            pytest.skip("gcc is not installed")
        shutil.copy(made, target / "app")
        return ("./app",)
    shutil.copy(HERE / "app.py", target / "app.py")
    return (sys.executable, "-S", "app.py")


def _python(python: Path) -> Iterator[tuple[Path, str]]:
    """Yield the files of a bare interpreter: the program, its libraries, a trimmed standard library; same places."""
    standard = Path(sysconfig.get_path("stdlib"))
    yield python, str(python)
    binaries = [python]
    for file in sorted(standard.rglob("*")):
        parts = file.relative_to(standard).parts
        if file.is_dir() or any(p in LEFT_OUT or p.startswith("config-") for p in parts) or file.suffix == ".a":
            continue
        yield file, str(file)
        if file.suffix == ".so":
            binaries.append(file)
    libraries: set[str] = set()
    for file in binaries:
        listed = subprocess.run(["ldd", str(file)], capture_output=True, text=True, timeout=10).stdout
        libraries.update(word for word in listed.split() if word.startswith("/"))
    for library in sorted(libraries):
        yield Path(os.path.realpath(library)), library
