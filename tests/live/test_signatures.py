"""Signed images from the real registry to the real engine: only what a key of the manifest signed is ever started."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from tests.lab import archive, image, registry, signing
from tests.live.shop import Shop
from tests.services import require

pytestmark = pytest.mark.live

REFUSED, NEEDS_PERSON = 2, 8


class Signed:
    """A service whose images come from a registry and must be signed by `mine`."""

    def __init__(self, shop: Shop, served: registry.Registry, folder: Path) -> None:
        self.shop, self.served = shop, served
        self.mine, self.other = (signing.signer(folder / name) for name in ("mine", "other"))
        shutil.copy(self.mine.public, shop.folder / "cosign.pub")
        shop.write(
            image=f"{served.host}/{shop.name}:{{version}}",
            replicas=1,
            verify={"cosign": {"key": "cosign.pub", "transparency_log": False}},
            strategy={"bluegreen": {"bake": 0}},
        )

    def variant(self, version: str) -> archive.Image:
        layers, program = image.base()
        return archive.Image(layers, program, {"VERSION": version, "DRAIN": "3000"}, {"for": self.shop.name})

    def push(self, tag: str, version: str = "", *, key: signing.Signer | None = None, index: bool = False) -> str:
        """Push an image under a tag, sign it with a key if one is given; return its name with the digest."""
        publish = self.served.publish_index if index else self.served.publish
        digest = publish(self.shop.name, tag, self.variant(version or tag))
        name = f"{self.served.host}/{self.shop.name}@{digest}"
        if key is not None:
            key.sign(name)
        return name

    def refused(self, *words: str) -> str:
        """Return what a refused command says; nothing may have changed by it."""
        before = (self.shop.status(), self.shop.containers(), self.shop.events("releases"))
        told = self.shop.deploy(*words, expect=REFUSED).stderr
        assert (self.shop.status(), self.shop.containers(), self.shop.events("releases")) == before
        return told


@pytest.fixture
def served(engine: docker.DockerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[registry.Registry]:
    require("cosign", "docker", "haproxy")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with registry.running() as running:
        running.login(tmp_path)
        yield running


@pytest.fixture
def signed(
    engine: docker.DockerClient,
    served: registry.Registry,
    make_shop: Callable[[str], Shop],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Iterator[Signed]:
    """Yield a service with the signed 1.0 live."""
    shop = make_shop("docker")
    made = Signed(shop, served, tmp_path)
    try:
        made.push("1.0", key=made.mine)
        shop.deploy("up", "--version", "1.0")
        yield made
    finally:
        shop.close()
        for identity, names in image.named(engine).items():
            if any(shop.name in name for name in names):
                image.remove(identity, engine)


def live(signed: Signed) -> str:
    return signed.shop.get().headers["X-Version"]


@pytest.mark.long("images that are signed, pushed, pulled and checked", every_change=True)
def test_what_is_not_signed_by_the_key_is_never_started(signed: Signed) -> None:
    name = signed.push("2.0")
    for words in (("plan", "canary"), ("up",), ("canary", "--percent", "10"), ("recreate",)):
        told = signed.refused(*words, "--version", "2.0")
        assert f"{name}, which {signed.served.host}/{signed.shop.name}:2.0 means here, has no signature" in told
        assert "cosign.pub (sha256:" in told
    signed.other.sign(name)
    assert "has a signature, but of another key" in signed.refused("up", "--version", "2.0")
    records = signed.shop.events("audit")[0]["records"]
    assert [r["action"] for r in records if r["result"] == "refused"] == 4 * ["start"], "a plan is no attempt"
    assert live(signed) == "1.0"

    signed.mine.sign(name)
    assert "is signed by cosign.pub" in signed.shop.deploy("plan", "--version", "2.0").stdout
    signed.shop.deploy("up", "--version", "2.0")
    assert live(signed) == "2.0"
    assert name in signed.shop.events("releases")[0]["releases"][0]["signature"]
    started = next(r for r in signed.shop.events("audit")[0]["records"] if r["result"] == "begun")
    assert f"{name} is signed by cosign.pub" in started["detail"]
    signed.shop.deploy("audit", "verify")


@pytest.mark.long("images that are signed, pushed, pulled and checked")
def test_a_tag_that_was_moved_to_an_unsigned_image(signed: Signed) -> None:
    signed.push("2.0", key=signed.mine)
    evil = signed.push("2.0", "evil")
    assert evil in signed.refused("up", "--version", "2.0")
    assert live(signed) == "1.0"


def move_after_first_look(signed: Signed, tag: str, to: str) -> None:
    """Let the tag mean another digest as soon as somebody has asked what it means."""
    found, place = signed.served.find, f"{signed.shop.name}:{tag}"

    def find(path: str) -> tuple[str, bytes] | None:
        answer = found(path)
        if path.endswith(f"/manifests/{tag}"):
            signed.served.tags[place] = to.rpartition("@")[2]
        return answer

    signed.served.find = find  # type: ignore[method-assign]


@pytest.mark.long("images that are signed, pushed, pulled and checked")
def test_a_tag_that_moves_while_it_is_deployed(signed: Signed) -> None:
    good = signed.push("2.0", key=signed.mine)
    evil = signed.push("other", "evil")
    move_after_first_look(signed, "2.0", evil)
    signed.shop.deploy("up", "--version", "2.0")
    assert live(signed) == "2.0", "what was proven is what was pulled, and what runs"
    assert good in signed.shop.events("releases")[0]["releases"][0]["signature"]
    assert signed.served.tags[f"{signed.shop.name}:2.0"] == evil.rpartition("@")[2]

    late = signed.push("3.0", "evil 3")
    move_after_first_look(signed, "3.0", signed.push("fine", "3.0", key=signed.mine))
    assert late in signed.refused("up", "--version", "3.0"), "the signature of what the tag means now is of no use"


@pytest.mark.long("images that are signed, pushed, pulled and checked")
def test_a_list_of_platforms_is_signed_as_a_whole(signed: Signed) -> None:
    name = signed.push("2.0", index=True)
    assert name in signed.refused("up", "--version", "2.0")
    signed.mine.sign(name)
    signed.shop.deploy("up", "--version", "2.0")
    assert live(signed) == "2.0"


@pytest.mark.long("images that are signed, pushed, pulled and checked")
def test_going_back_needs_neither_registry_nor_cosign(
    signed: Signed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: docker.DockerClient
) -> None:
    shop = signed.shop
    signed.push("2.0", key=signed.mine)
    shop.write(keep={"warm": 0})
    shop.deploy("up", "--version", "2.0")
    signed.push("3.0", key=signed.mine)
    monkeypatch.setenv("PATH", programs(tmp_path / "bin", "haproxy", "git"))
    told = signed.refused("up", "--version", "3.0")
    assert "cosign is not installed" in told
    assert "apt-get install cosign" in told
    told = shop.deploy("doctor", expect=NEEDS_PERSON).stdout
    assert "cosign: the manifest requires verified signatures, and cosign is not installed" in told

    signed.served.tags.clear()
    signed.served.blobs.clear()
    shop.deploy("rollback")
    assert live(signed) == "1.0"
    for name in shop.containers():
        engine.containers.get(name).remove(force=True)
    shop.deploy("up", "--version", "1.0")
    assert live(signed) == "1.0", "what was proven before is brought out again"


@pytest.mark.long("images that are signed, pushed, pulled and checked")
def test_a_registry_that_is_gone_proves_nothing(signed: Signed, engine: docker.DockerClient) -> None:
    """The image is here, since somebody pulled it; nobody can say whether it is signed."""
    name = signed.push("2.0", key=signed.mine)
    repository = name.partition("@")[0]
    engine.images.pull(repository, tag="2.0", auth_config={"username": registry.USER, "password": registry.PASSWORD})
    signed.served.find = lambda path: None  # type: ignore[method-assign]
    assert "has no signature" in signed.refused("up", "--version", "2.0")


@pytest.mark.long("images that are signed, pushed, pulled and checked")
def test_an_image_that_was_built_here_has_no_signature(signed: Signed, engine: docker.DockerClient) -> None:
    shop = signed.shop
    with image.built(f"{shop.name}:local", engine, version="local"):
        shop.write(image=f"{shop.name}:{{version}}")
        told = signed.refused("up", "--version", "local")
    assert "it was built or loaded here, no registry knows it" in told


def programs(folder: Path, *names: str) -> str:
    """Return a PATH with these programs only."""
    folder.mkdir()
    for name in names:
        found = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
        if found:
            (folder / name).symlink_to(found)
    return str(folder)
