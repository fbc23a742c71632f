"""Signatures of bundles, by each real program: who signed, another file, another key, a flipped letter."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from deployer.bundle import signing
from deployer.core.errors import Refused
from tests.services import require

pytestmark = pytest.mark.live

CONTENTS, OTHERS = b'{"service":"shop"}', b'{"service":"till"}'
PROGRAMS = ("openssh", "minisign", "cosign")


class Keys:
    """A pair of keys of a program; `public` is the file that says who may sign."""

    def __init__(self, folder: Path, program: str, name: str) -> None:
        self.secret, self.public = folder / f"{name}.key", folder / f"{name}.pub"
        if program == "openssh":
            self._run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.secret))
            self.public.write_text(f"{name}@example.com {self.secret.with_suffix('.key.pub').read_text()}")
        elif program == "minisign":
            self._run("minisign", "-G", "-W", "-p", str(self.public), "-s", str(self.secret))
        else:
            self._run("cosign", "generate-key-pair", "--output-key-prefix", str(folder / name))

    @staticmethod
    def _run(*command: str) -> None:
        environ = {**os.environ, "COSIGN_PASSWORD": ""}
        subprocess.run(command, check=True, capture_output=True, timeout=60, env=environ)


@pytest.fixture(scope="module", params=PROGRAMS)
def keys(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Keys, Keys]:
    """Return two pairs of keys of a program."""
    if request.param != "openssh":
        require(request.param)
    folder = tmp_path_factory.mktemp(request.param)
    return Keys(folder, request.param, "ann"), Keys(folder, request.param, "ben")


@pytest.fixture(scope="module")
def signature(keys: tuple[Keys, Keys]) -> str:
    """Return ann's signature."""
    return signing.sign(CONTENTS, keys[0].secret)


def test_who_signed_is_named(keys: tuple[Keys, Keys], signature: str) -> None:
    assert signing.signer(CONTENTS, signature, keys[0].public).startswith("ann")
    signing.refuse_damaged(CONTENTS, signature)


def test_a_key_that_nobody_named_is_refused(keys: tuple[Keys, Keys], signature: str) -> None:
    with pytest.raises(
        Refused, match=r"is not signed by|is signed by the minisign key \w+, and .*ben.pub is the key \w+"
    ):
        signing.signer(CONTENTS, signature, keys[1].public)


def test_a_signature_of_another_bundle_is_refused(keys: tuple[Keys, Keys], signature: str) -> None:
    with pytest.raises(Refused, match=r"is not signed by|does not fit its contents: .*verification failed"):
        signing.signer(OTHERS, signature, keys[0].public)


def test_a_signature_with_a_flipped_letter_is_refused(keys: tuple[Keys, Keys], signature: str) -> None:
    lines = signature.split("\n")
    at = 1 if len(lines) > 1 else 0
    flipped = "B" if lines[at][40] == "A" else "A"
    lines[at] = lines[at][:40] + flipped + lines[at][41:]
    with pytest.raises(Refused, match=r"is not signed by|does not fit its contents"):
        signing.signer(CONTENTS, "\n".join(lines), keys[0].public)
    lines[at] = "\0no base64"
    with pytest.raises(Refused):
        signing.signer(CONTENTS, "\n".join(lines), keys[0].public)


def test_a_folder_may_hold_keys_of_several_programs(keys: tuple[Keys, Keys], signature: str, tmp_path: Path) -> None:
    others = Keys(tmp_path, "openssh", "eve")
    folder = tmp_path / "signers"
    folder.mkdir()
    for key in (others, keys[1]):
        (folder / f"{key.public.name}").write_bytes(key.public.read_bytes())
    with pytest.raises(Refused):
        signing.signer(CONTENTS, signature, folder)
    (folder / keys[0].public.name).write_bytes(keys[0].public.read_bytes())
    assert signing.signer(CONTENTS, signature, folder).startswith("ann")


def test_a_program_without_a_key_among_the_signers_is_named(tmp_path: Path) -> None:
    require("minisign")
    signature = signing.sign(CONTENTS, Keys(tmp_path, "minisign", "ann").secret)
    ssh = Keys(tmp_path, "openssh", "ben")
    with pytest.raises(Refused, match=r"it is signed by minisign, and .*ben.pub has no key of minisign"):
        signing.signer(CONTENTS, signature, ssh.public)
    with pytest.raises(Refused, match="no known program made it"):
        signing.signer(CONTENTS, "anything", ssh.public)
    with pytest.raises(Refused, match="it is not signed, and") as refused:
        signing.signer(CONTENTS, "", ssh.public)
    assert "`deploy bundle make --sign KEY -o FILE`" in refused.value.hint
    with pytest.raises(Refused, match="is not a file"):
        signing.signer(CONTENTS, signature, tmp_path / "nowhere")


def test_minisign_names_the_bundle_that_it_signed(tmp_path: Path) -> None:
    require("minisign")
    signature = signing.sign(CONTENTS, Keys(tmp_path, "minisign", "ann").secret)
    with pytest.raises(Refused, match="is damaged, or that of another bundle"):
        signing.refuse_damaged(OTHERS, signature)


def test_a_program_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require("minisign", "cosign")
    mini, co = Keys(tmp_path, "minisign", "ann"), Keys(tmp_path, "cosign", "ben")
    monkeypatch.setenv("PATH", "/nowhere")
    for key, hint in ((mini, "apt-get install minisign"), (co, "apt-get install cosign")):
        with pytest.raises(Refused) as error:
            signing.sign(CONTENTS, key.secret)
        assert hint in error.value.hint


@pytest.mark.long("minisign takes seconds for each password, on purpose")
def test_a_key_with_a_password_is_opened_by_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require("minisign")
    secret, public = tmp_path / "ann.key", tmp_path / "ann.pub"
    make = ["minisign", "-G", "-p", str(public), "-s", str(secret)]
    subprocess.run(make, input=b"a word\na word\n", check=True, capture_output=True, timeout=60)
    with pytest.raises(Refused, match=r"cannot be signed with .*Wrong password") as error:
        signing.sign(CONTENTS, secret)
    assert "MINISIGN_PASSWORD" in error.value.hint
    monkeypatch.setenv("MINISIGN_PASSWORD", "a word")
    assert signing.signer(CONTENTS, signing.sign(CONTENTS, secret), public).startswith("ann.pub (minisign key ")
