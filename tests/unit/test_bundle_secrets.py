"""Secrets in a bundle: encrypted to who is named, opened by nobody else."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from deployer.bundle import sealing
from deployer.core.errors import Refused
from deployer.core.secret import SecretText
from tests.services import require

SECRETS = {"TOKEN": SecretText("hunter2 ä\n"), "KEY": SecretText("x" * 100_000)}


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, str]:
    """Make three identities; return the recipients by their names."""
    require("age")
    for name in ("ann", "ben"):
        subprocess.run(["age-keygen", "-o", tmp_path / name], check=True, capture_output=True, timeout=120)
    ssh = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "eve", "-f", str(tmp_path / "eve")]
    subprocess.run(ssh, check=True, timeout=120)
    made = {
        name: subprocess.run(["age-keygen", "-y", tmp_path / name], check=True, capture_output=True, text=True).stdout
        for name in ("ann", "ben")
    }
    return {**{name: key.strip() for name, key in made.items()}, "eve": (tmp_path / "eve.pub").read_text().strip()}


def test_each_recipient_opens_them_and_nobody_else(keys: dict[str, str], tmp_path: Path) -> None:
    sealed = sealing.seal(SECRETS, [keys["ann"], keys["eve"]])
    assert b"hunter2" not in sealed
    for name in ("ann", "eve"):
        found = sealing.unseal(sealed, tmp_path / name)
        assert {key: value.reveal() for key, value in found.items()} == {
            key: value.reveal() for key, value in SECRETS.items()
        }
    with pytest.raises(Refused, match=r"cannot be opened with .*/ben: .*no identity matched") as error:
        sealing.unseal(sealed, tmp_path / "ben")
    assert "hunter2" not in error.value.message


def test_recipients_may_stand_in_a_file(keys: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "recipients").write_text(f"# who may\n{keys['ben']}\n")
    sealed = sealing.seal(SECRETS, [str(tmp_path / "recipients")])
    assert sealing.unseal(sealed, tmp_path / "ben")["TOKEN"].reveal() == "hunter2 ä\n"


def test_what_is_wrong_is_said(keys: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused, match=r"cannot be encrypted: .*malformed recipient"):
        sealing.seal(SECRETS, ["age1nobody"])
    with pytest.raises(Refused, match="cannot be encrypted"):
        sealing.seal(SECRETS, [str(tmp_path / "nowhere")])
    sealed = bytearray(sealing.seal(SECRETS, [keys["ann"]]))
    sealed[-3] ^= 1
    with pytest.raises(Refused, match="cannot be opened"):
        sealing.unseal(bytes(sealed), tmp_path / "ann")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Refused) as error:
        sealing.seal(SECRETS, [keys["ann"]])
    assert "apt install age" in error.value.hint
