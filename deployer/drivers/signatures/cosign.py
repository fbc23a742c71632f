"""Signatures of images, proven by the program cosign (https://docs.sigstore.dev/cosign/verifying/verify/)."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployer.core import commands, files
from deployer.core.clock import Deadline
from deployer.core.cosign import INSTALL, surroundings
from deployer.core.errors import Refused
from deployer.drivers.ports import Image
from deployer.manifest import public_key
from deployer.manifest.public_key import PublicKey
from deployer.manifest.sections import CosignKeys
from deployer.model import Signature

if TYPE_CHECKING:
    from deployer.manifest.models import Manifest

_MOST = 1024 * 1024  # bytes of what cosign may print
_UNSIGNED, _BY_ANOTHER = 10, 12  # exit codes of cosign
_ERROR = re.compile(r"(?:^|: | / )Error: (?P<text>.*?)(?= / error during|$)")


def program() -> Path:
    """Find cosign. Raises Refused when it is not installed."""
    found = shutil.which("cosign")
    if found is None:
        raise Refused("the manifest requires verified signatures, and cosign is not installed", INSTALL)
    return Path(found)


class Cosign:
    """Asks cosign whether one of the manifest's keys signed an image; `folder` is the manifest's."""

    def __init__(self, folder: Path, environ: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        self._environ = surroundings(os.environ) if environ is None else environ

    def prove(self, manifest: Manifest, image: Image, known: Sequence[Signature], deadline: Deadline) -> Signature:
        """Return a signature of the image by a key of the manifest, one of the `known` ones of this image if it is.

        Raises Refused, with what was checked, when there is none or it cannot be proven within the deadline.
        """
        if manifest.verify is None:
            raise ValueError("the manifest names no keys")
        settings = manifest.verify.cosign
        keys = self._keys(settings)
        accepted = {key.fingerprint for key in keys}
        for signature in known:
            if signature.key in accepted and (signature.logged or not settings.transparency_log):
                return signature
        if not image.names:
            raise Refused(
                f"{image.reference} has no signature: it was built or loaded here, no registry knows it by this name",
                "push it, sign it (cosign sign --key KEY NAME@DIGEST) and deploy it by that name; or remove `verify`",
            )
        asked = _Asked(program(), image, settings.transparency_log, deadline, self._environ)
        problems = []
        for name in image.names:
            for key in keys:
                problem = asked.problem_with(name, key)
                if problem is None:
                    return Signature(name, key.fingerprint, key.name, settings.transparency_log)
                problems.append(problem)
        raise Refused(*_words(image, keys, problems, settings.transparency_log))

    def _keys(self, settings: CosignKeys) -> tuple[PublicKey, ...]:
        try:
            return tuple(public_key.read(self._folder, name) for name in settings.names)
        except public_key.Unfit as unfit:  # it was fit when the manifest was loaded
            raise Refused(f"verify.cosign: a key {unfit.message}", unfit.hint) from None


class _Problem(Exception):
    def __init__(self, code: int, text: str) -> None:
        self.code = code
        self.text = text


class _Asked:
    """One proof: the same image, deadline and surroundings for each name and key that is tried."""

    def __init__(
        self, cosign: Path, image: Image, logged: bool, deadline: Deadline, environ: Mapping[str, str]
    ) -> None:
        self._cosign = cosign
        self._image = image
        self._logged = logged
        self._deadline = deadline
        self._environ = environ

    def problem_with(self, name: str, key: PublicKey) -> _Problem | None:
        """Return why a key did not sign what a name with a digest names; None when it did."""
        from tempfile import TemporaryDirectory  # not for the commands that prove nothing

        with TemporaryDirectory(prefix="deployer-") as folder:
            file = Path(folder) / "key.pub"  # what was hashed is what is asked about, whatever becomes of the file
            files.replace(file, key.pem)
            command = [str(self._cosign), "verify", f"--key={file}", "--check-claims=true", "--output=json"]
            command += [f"--insecure-ignore-tlog={'false' if self._logged else 'true'}", name]
            try:
                printed = commands.run(command, Path(folder), self._environ, self._deadline.left, most=_MOST)
            except commands.CommandFailed as failed:
                said = _ERROR.search(failed.message)
                return _Problem(failed.code, said["text"] if said else failed.message)
        if not _claims(printed, name.rpartition("@")[2]):
            return _Problem(0, "cosign found a signature, but not of this digest")
        return None


def _claims(printed: bytes, digest: str) -> bool:
    """Return whether what was signed names the digest; the exit code of cosign alone is not believed."""
    try:
        claims = json.loads(printed)
    except ValueError:
        return False
    return isinstance(claims, list) and any(_digest(claim) == digest for claim in claims)


def _digest(claim: Any) -> Any:
    try:
        return claim["critical"]["image"]["docker-manifest-digest"]
    except (KeyError, TypeError):
        return None


def _words(image: Image, keys: Sequence[PublicKey], problems: Sequence[_Problem], logged: bool) -> tuple[str, str]:
    """Return what was checked and what to do."""
    names = " or ".join(f"{key.name} (sha256:{key.fingerprint[:16]}…)" for key in keys)
    checked = f"{' and '.join(image.names)}, which {image.reference} means here"
    worst = next((p for p in problems if p.code not in (_UNSIGNED, _BY_ANOTHER)), problems[0])
    if worst.code not in (_UNSIGNED, _BY_ANOTHER):
        return (
            f"whether {names} signed {checked}, cannot be verified: {worst.text}",
            f"nothing was started; deploy again when {'registry and transparency log' if logged else 'the registry'} "
            "can be asked from here",
        )
    how = "has no signature" if all(p.code == _UNSIGNED for p in problems) else "has a signature, but of another key"
    return (
        f"{checked}, {how}; it must be signed by {names}",
        f"if it is yours: cosign sign --key KEY {image.names[0]}; if not, find out who pushed it",
    )
