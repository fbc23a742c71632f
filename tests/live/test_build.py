"""`build` with a real engine: what is built runs; what fails leaves nothing; secrets are in no layer and no text."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.lab import image
from tests.live.conftest import Make
from tests.live.shop import Shop
from tests.services import require

pytestmark = pytest.mark.live

SECRET = "a-token-of-the-registry"
# The label: what two tests build alike would be one image, which the other one still has.
DOCKERFILE = """\
FROM scratch AS all
LABEL test.service={service}
ARG LATENCY=0
COPY app {file} /
ENV VERSION={version} DRAIN=3000 PATH=/
ENTRYPOINT ["/app"]
FROM all AS broken
RUN --mount=type=secret,id=TOKEN ["/app", "cat", "/run/secrets/TOKEN"]
RUN ["/app", "cat", "/nowhere"]
FROM all
RUN --mount=type=secret,id=TOKEN ["/app", "cat", "/run/secrets/TOKEN"]
"""


@pytest.fixture
def shop(make_shop: Make, engine: docker.DockerClient) -> Iterator[Shop]:
    """Yield a service in a Git work tree, of which nothing was built yet."""
    require("buildx", "gcc")
    program = image.binary()
    assert program is not None
    shop = make_shop("docker")
    shop.manifest.pop("image")
    shop.environ["TOKEN"] = SECRET
    shop.write(build={"context": ".", "secrets": ["TOKEN"]}, secrets={"TOKEN": {"env": "TOKEN", "deliver": "none"}})
    shutil.copy(program, shop.folder / "app")
    (shop.folder / ".gitignore").write_text("state\n")
    subprocess.run(["git", "init", "-q"], cwd=shop.folder, check=True)
    change(shop, "1.0")
    try:
        yield shop
    finally:
        shop.close()
        for built in engine.images.list(shop.name):
            image.remove(str(built.id), engine)


def change(shop: Shop, version: str, text: str = "") -> str:
    """Commit a version of the app; return its revision."""
    (shop.folder / "Dockerfile").write_text(DOCKERFILE.format(version=version, file="page", service=shop.name))
    (shop.folder / "page").write_text(text or version)
    who = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    for arguments in (["add", "-A"], ["commit", "-q", "--allow-empty", "-m", version]):
        subprocess.run(["git", *who, *arguments], cwd=shop.folder, check=True)
    done = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=shop.folder, capture_output=True, text=True)
    return done.stdout.strip()


def tags(shop: Shop, engine: docker.DockerClient) -> set[str]:
    return {tag for found in engine.images.list(shop.name) for tag in found.tags if tag.startswith(f"{shop.name}:")}


@pytest.mark.long("three deploys and a rollback of what is built", every_change=True)
def test_a_tree_goes_live_and_again_without_a_registry(shop: Shop, engine: docker.DockerClient) -> None:
    revision = change(shop, "1.0")
    done = shop.deploy("up")
    assert shop.get().text.strip() == "1.0"
    assert tags(shop, engine) == {f"{shop.name}:{revision}"}
    assert SECRET not in done.stdout + done.stderr
    archive = b"".join(engine.images.get(f"{shop.name}:{revision}").save())
    assert SECRET.encode() not in archive

    assert "nothing to do" in shop.deploy("up").stdout
    change(shop, "2.0")
    shop.deploy("bluegreen", "--bake", "0")
    assert shop.get().text.strip() == "2.0"
    shop.deploy("rollback")
    assert shop.get().text.strip() == "1.0"


def test_a_commit_that_changes_nothing_of_the_image_is_no_release(shop: Shop) -> None:
    shop.deploy("up")
    (shop.folder / "README").write_text("what is not in the image")
    change(shop, "1.0")

    assert "nothing to do" in shop.deploy("up").stdout


def test_a_failed_build_says_its_last_lines_and_leaves_nothing(shop: Shop, engine: docker.DockerClient) -> None:
    shop.write(build={"context": ".", "secrets": ["TOKEN"], "target": "broken"})
    revision = change(shop, "1.0", "never built before")

    done = shop.deploy("up", expect=4)

    assert f"the build of {shop.name}:{revision} failed" in done.stderr
    assert "/app cat /nowhere" in done.stderr.splitlines()[-2]
    assert SECRET not in done.stdout + done.stderr
    assert tags(shop, engine) == set()
    assert shop.containers() == []
    assert shop.deploy("status", expect=2).returncode == 2  # there is no such service


@pytest.mark.long("three deploys of what is built")
def test_an_image_goes_with_the_last_release_that_has_it(shop: Shop, engine: docker.DockerClient) -> None:
    shop.write(keep={"releases": 1, "warm": "0s"})
    revisions = []
    for version in ("1.0", "2.0", "3.0"):
        revisions.append(change(shop, version))
        shop.deploy("bluegreen", "--bake", "0")

    assert tags(shop, engine) == {f"{shop.name}:{revisions[-1]}"}


def test_what_is_not_committed_needs_dirty(shop: Shop, engine: docker.DockerClient) -> None:
    revision = change(shop, "1.0")
    (shop.folder / "page").write_text("changed")

    assert "changes that are not committed: page" in shop.deploy("up", expect=2).stderr
    shop.deploy("up", "--dirty")
    assert tags(shop, engine) == {f"{shop.name}:{revision}-dirty"}


def test_without_the_docker_command_it_says_what_is_missing(shop: Shop, tmp_path: Path) -> None:
    for name in ("git", "haproxy"):
        (tmp_path / name).symlink_to(shutil.which(name) or f"/usr/sbin/{name}")
    shop.environ["PATH"] = str(tmp_path)

    done = shop.deploy("up", expect=2)

    assert "`build` needs the docker command, which is not on PATH" in done.stderr
    assert "docker-buildx" in done.stderr
