"""Signatures of bundles: by ssh-keygen, minisign or cosign, as the key says.

What is signed is the digest of the contents, and by their digests every part. Which keys may sign says a file: allowed
signers of SSH, a public key of minisign, or public keys as PEM; or a folder of such files.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from deployer.bundle.signing import cosign, minisign, openssh
from deployer.bundle.signing.message import BY_OTHER_KEY, DAMAGED, MADE_SIGNED
from deployer.core.errors import Refused

_MOST = 1024 * 1024  # bytes of a file of keys


class Program(Protocol):
    """A program that signs; `NAME` is for people."""

    NAME: str

    def has_secret(self, key: bytes, /) -> bool:
        """Return whether a file is a secret key of this program."""
        ...

    def has_public(self, keys: bytes) -> bool:
        """Return whether a file has public keys of this program."""
        ...

    def made(self, signature: str) -> bool:
        """Return whether a signature is one of this program."""
        ...

    def sign(self, contents: bytes, key: Path) -> str:
        """Return the signature of the contents. Raise Refused."""
        ...

    def signer(self, contents: bytes, signature: str, keys: Path) -> str:
        """Return which of the keys signed the contents. Raise Refused where it was none of them."""
        ...

    def refuse_damaged(self, contents: bytes, signature: str, /) -> None:
        """Raise Refused for a signature that no key made of these contents, as far as that shows without the keys."""
        ...


_PROGRAMS: tuple[Program, ...] = (
    minisign.Minisign(),
    cosign.CosignBlobs(),
    openssh.OpenSsh(),
)  # the last one is for all


def sign(contents: bytes, key: Path) -> str:
    """Sign the contents of a bundle, and with them all its parts; return the signature, as text. Raise Refused."""
    found = _read(key)
    return next(program for program in _PROGRAMS if program.has_secret(found)).sign(contents, key)


def signer(contents: bytes, signature: str, signers: Path) -> str:
    """Return the one of `signers` who signed. Raise Refused where it was none."""
    if not signature:
        raise Refused(
            f"it is not signed, and {signers} says who must sign bundles",
            f'{MADE_SIGNED}; --allow-unsigned "WHY" deploys it as it is',
        )
    program = _of(signature)
    files = [file for file in _files(signers) if program.has_public(_read(file))]
    if not files:
        raise Refused(
            f"it is signed by {program.NAME}, and {signers} has no key of {program.NAME}",
            BY_OTHER_KEY,
        )
    refused = []
    for file in files:
        try:
            return program.signer(contents, signature, file)
        except Refused as error:
            refused.append(error)
    if len(refused) == 1:
        raise refused[0]
    raise Refused("; ".join(error.message for error in refused), refused[0].hint)


def refuse_damaged(contents: bytes, signature: str) -> None:
    """Raise Refused for a signature that no key made of these contents, as far as that shows without the keys."""
    _of(signature).refuse_damaged(contents, signature)


def _of(signature: str) -> Program:
    for program in _PROGRAMS:
        if program.made(signature):
            return program
    raise Refused("its signature is damaged: no known program made it", DAMAGED)


def _files(signers: Path) -> Iterator[Path]:
    if signers.is_dir():
        yield from (file for file in sorted(signers.iterdir()) if file.is_file())
    elif signers.is_file():
        yield signers
    else:
        raise Refused(f"{signers} is not a file", "it holds the keys that may sign: docs/bundles.md, Signatures")


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(_MOST)
    except OSError as error:
        raise Refused(f"{file} cannot be read: {error.strerror}", "name the file of a key") from None
