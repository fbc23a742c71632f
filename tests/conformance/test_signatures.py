"""Whoever proves signatures: signed is proven, unsigned is refused, and what was proven before is not asked again."""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployer.core.clock import Deadline, SystemClock
from deployer.core.cosign import surroundings
from deployer.core.errors import Exit, Refused
from deployer.drivers.ports import Image, Signatures
from deployer.drivers.signatures import Cosign
from deployer.manifest.models import Manifest
from deployer.model import Signature
from tests.lab import archive, image, registry, signing
from tests.memory import MemorySignatures, World
from tests.services import require

pytestmark = pytest.mark.xdist_group("signatures")  # they share keys
KEYS = ("mine", "other")


def manifest(**cosign: Any) -> Manifest:
    verify = {"cosign": {"key": "mine/cosign.pub", "transparency_log": False, **cosign}}
    return Manifest.model_validate({"service": "shop", "image": "shop:1", "port": 8080, "verify": verify})


def within(seconds: float = 60.0) -> Deadline:
    return Deadline.after(SystemClock(), seconds)


class Bench(ABC):
    signatures: Signatures

    @abstractmethod
    def image(self, version: str, *, signed: bool) -> Image:
        """Make an image, signed by the key of the manifest or by nobody."""


class MemoryBench(Bench):
    def __init__(self) -> None:
        self.world = World()
        self.signatures = MemorySignatures(self.world)

    def image(self, version: str, *, signed: bool) -> Image:
        if not signed:
            self.world.unsigned.add(f"shop:{version}")
        return Image(f"shop:{version}", f"sha256:{version}", (f"shop@sha256:{version}",))


class CosignBench(Bench):
    def __init__(self, folder: Path, served: registry.Registry) -> None:
        self.folder, self.served = folder, served
        served.login(folder)
        self.mine, self.other = (signing.Signer(folder / name) for name in KEYS)
        self.environ = {**surroundings(os.environ), "DOCKER_CONFIG": str(folder)}
        self.signatures = self.proving()

    def proving(self, **more: str) -> Cosign:
        return Cosign(self.folder, {**self.environ, **more})

    def image(self, version: str, *, signed: bool) -> Image:
        made = self.pushed(version)
        if signed:
            self.mine.sign(made.names[0])
        return made

    def pushed(self, version: str) -> Image:
        digest = self.served.publish("shop", version, variant(version))
        return Image(f"{self.served.host}/shop:{version}", f"sha256:{version}", (self.name(digest),))

    def name(self, digest: str) -> str:
        return f"{self.served.host}/shop@{digest}"


def variant(version: str) -> archive.Image:
    return archive.Image([archive.layer([(Path(image.__file__), "/app")])], ["/app"], {"VERSION": version})


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with key pairs."""
    require("cosign")
    folder = tmp_path_factory.mktemp("keys")
    for name in KEYS:
        signing.signer(folder / name)
    return folder


@pytest.fixture
def real(tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CosignBench]:
    shutil.copytree(keys, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))  # for signing
    with registry.running() as served:
        yield CosignBench(tmp_path, served)


@pytest.fixture(params=["memory", "cosign"])
def bench(request: pytest.FixtureRequest) -> Bench:
    if request.param == "memory":
        return MemoryBench()
    made: CosignBench = request.getfixturevalue("real")
    return made


# -- of all


def test_a_signed_image_is_proven(bench: Bench) -> None:
    made = bench.image("1", signed=True)
    signature = bench.signatures.prove(manifest(), made, (), within())
    assert signature.image.rpartition("@")[2].startswith("sha256:")
    assert len(signature.key) == 64
    assert not signature.logged
    assert "without a transparency log" in signature.explain()


def test_an_unsigned_image_is_refused(bench: Bench) -> None:
    bench.image("1", signed=True)
    made = bench.image("2", signed=False)
    with pytest.raises(Refused, match="has no signature") as refused:
        bench.signatures.prove(manifest(), made, (), within())
    assert refused.value.exit == Exit.REFUSED


def test_what_was_proven_before_holds(bench: Bench) -> None:
    made = bench.image("1", signed=True)
    signature = bench.signatures.prove(manifest(), made, (), within())
    again = Image(made.reference, made.id)  # no registry knows it any more
    assert bench.signatures.prove(manifest(), again, (signature,), within()) == signature


# -- of cosign


def refusal(bench: CosignBench, made: Image, found: Manifest | None = None, **environ: str) -> str:
    with pytest.raises(Refused) as refused:
        bench.proving(**environ).prove(found or manifest(), made, (), within())
    return str(refused.value)


def test_a_refusal_says_what_was_checked_and_what_to_do(real: CosignBench) -> None:
    made = real.pushed("1")
    told = refusal(real, made)
    assert made.names[0] in told
    assert f"which {made.reference} means here, has no signature" in told
    assert "signed by mine/cosign.pub (sha256:" in told
    assert f"cosign sign --key KEY {made.names[0]}" in told


def test_a_signature_by_another_key(real: CosignBench) -> None:
    made = real.pushed("1")
    real.other.sign(made.names[0])
    assert "has a signature, but of another key" in refusal(real, made)
    real.mine.sign(made.names[0])
    assert real.signatures.prove(manifest(), made, (), within()).file == "mine/cosign.pub"


def test_one_of_several_keys_is_enough(real: CosignBench) -> None:
    both = manifest(key=None, keys=["mine/cosign.pub", "other/cosign.pub"])
    made = real.pushed("1")
    assert "mine/cosign.pub (sha256:" in refusal(real, made, both)
    real.other.sign(made.names[0])
    assert real.signatures.prove(both, made, (), within()).file == "other/cosign.pub"


def test_a_key_that_is_trusted_no_more_proves_nothing(real: CosignBench) -> None:
    made = real.image("1", signed=True)
    signature = real.signatures.prove(manifest(), made, (), within())
    other = manifest(key="other/cosign.pub")
    with pytest.raises(Refused, match="of another key"):
        real.signatures.prove(other, made, (signature,), within())


def test_another_key_under_the_same_name_proves_nothing(real: CosignBench) -> None:
    made = real.image("1", signed=True)
    signature = real.signatures.prove(manifest(), made, (), within())
    real.mine.public.write_text(real.other.public.read_text())
    with pytest.raises(Refused, match="of another key"):
        real.signatures.prove(manifest(), made, (signature,), within())


def test_a_tag_that_was_moved_after_signing_is_of_no_use(real: CosignBench) -> None:
    good = real.image("1", signed=True)
    evil = real.served.publish("shop", "1", variant("evil"))
    pulled = Image(good.reference, "sha256:evil", (real.name(evil),))
    assert "has no signature" in refusal(real, pulled)


def test_a_tag_that_is_moved_after_the_pull_changes_nothing(real: CosignBench) -> None:
    good = real.image("1", signed=True)
    real.served.publish("shop", "1", variant("evil"))
    assert real.signatures.prove(manifest(), good, (), within()).image == good.names[0]


def test_a_signature_that_was_moved_to_another_image(real: CosignBench) -> None:
    good, evil = real.image("1", signed=True), real.pushed("2")
    places = [f"shop:{made.names[0].rpartition('@')[2].replace(':', '-')}.sig" for made in (good, evil)]
    real.served.tags[places[1]] = real.served.tags[places[0]]
    told = refusal(real, evil)
    assert "has a signature, but" in told or "cannot be verified" in told


def test_a_registry_that_is_gone(real: CosignBench) -> None:
    made = Image("127.0.0.1:1/shop:1", "sha256:1", (f"127.0.0.1:1/shop@sha256:{'0' * 64}",))
    told = refusal(real, made)
    assert "cannot be verified" in told
    assert "connection refused" in told
    assert "nothing was started" in told


def test_a_registry_that_wants_other_credentials(real: CosignBench, tmp_path: Path) -> None:
    made = real.image("1", signed=True)
    told = refusal(real, made, DOCKER_CONFIG=str(tmp_path / "nowhere"))
    assert "401" in told
    assert registry.PASSWORD not in told


def test_an_image_that_no_registry_knows(real: CosignBench) -> None:
    told = refusal(real, Image("shop:1", "sha256:1"))
    assert "it was built or loaded here" in told
    assert "push it" in told


def test_the_transparency_log_is_wanted_unless_the_manifest_says_otherwise(real: CosignBench) -> None:
    made = real.image("1", signed=True)
    logged = manifest(transparency_log=True)
    assert "cannot be verified" in refusal(real, made, logged)
    digest = made.names[0].rpartition("@")[2]
    key = signing.log(real.served, "shop", digest, real.mine.public, real.folder)
    signature = real.proving(SIGSTORE_REKOR_PUBLIC_KEY=str(key)).prove(logged, made, (), within())
    assert signature.logged
    assert "transparency" not in signature.explain()


def test_a_signature_that_another_log_promised_is_refused(real: CosignBench) -> None:
    made = real.image("1", signed=True)
    digest = made.names[0].rpartition("@")[2]
    first = signing.log(real.served, "shop", digest, real.mine.public, real.folder).read_text()
    (real.folder / "first.pub").write_text(first)
    signing.log(real.served, "shop", digest, real.mine.public, real.folder)
    told = refusal(
        real, made, manifest(transparency_log=True), SIGSTORE_REKOR_PUBLIC_KEY=str(real.folder / "first.pub")
    )
    assert "signed" in told


def test_what_was_proven_without_the_log_does_not_hold_with_it(real: CosignBench) -> None:
    made = real.image("1", signed=True)
    signature = real.signatures.prove(manifest(), made, (), within())
    assert isinstance(signature, Signature)
    with pytest.raises(Refused, match="cannot be verified"):
        real.signatures.prove(manifest(transparency_log=True), made, (signature,), within())


@pytest.mark.parametrize("name", ["COSIGN_INSECURE_IGNORE_TLOG", "COSIGN_PRIVATE_INFRASTRUCTURE"])
def test_no_variable_of_a_pipeline_weakens_it(real: CosignBench, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = real.image("1", signed=True)
    monkeypatch.setenv(name, "true")
    assert "cannot be verified" in refusal(real, made, manifest(transparency_log=True), **surroundings(os.environ))
