"""Signatures by ssh-keygen: keys and file of signers are those of `git commit -S` with SSH."""

from __future__ import annotations

from pathlib import Path

from deployer.bundle.signing.message import BY_OTHER_KEY, DAMAGED, NAMESPACE, digest_line, refused, run, written

_BEGIN = "-----BEGIN SSH SIGNATURE-----"
_OTHERS = (b"-----BEGIN PUBLIC KEY", b"untrusted comment:")


class OpenSsh:
    """Signs by `ssh-keygen -Y`, with whatever key ssh(1) takes."""

    NAME = "ssh-keygen"

    def has_secret(self, _key: bytes) -> bool:  # ssh-keygen knows best
        """Return True: a key may be on a token, or in an agent."""
        return True

    def has_public(self, keys: bytes) -> bool:
        """Return whether a file may be one of allowed signers; an empty one is."""
        return not keys.lstrip().startswith(_OTHERS)

    def made(self, signature: str) -> bool:
        """Return whether a signature is armoured as those of SSH."""
        return signature.startswith(_BEGIN)

    def sign(self, contents: bytes, key: Path) -> str:
        """Return the signature, armoured."""
        with written(digest_line(contents)) as (message, signature):
            with refused(f"the bundle cannot be signed with {key}", "a key of ssh(1)"):
                run(["ssh-keygen", "-Y", "sign", "-q", "-n", NAMESPACE, "-f", str(key.absolute()), str(message)])
            return signature.read_text(encoding="ascii")

    def signer(self, contents: bytes, signature: str, keys: Path) -> str:
        """Return the principal who signed (ssh-keygen(1), ALLOWED SIGNERS)."""
        with written(digest_line(contents), signature) as (_, place):
            given = ("-s", str(place), "-f", str(keys.absolute()))
            with refused(f"it is not signed by a key of {keys}", BY_OTHER_KEY):
                found = run(["ssh-keygen", "-Y", "find-principals", *given]).splitlines()
                who = found[0] if found else ""
                run(["ssh-keygen", "-Y", "verify", "-n", NAMESPACE, "-I", who, *given], digest_line(contents))
        return who

    def refuse_damaged(self, contents: bytes, signature: str) -> None:
        """Raise Refused where the key inside the signature did not make it of these contents."""
        damaged = refused("its signature is damaged", DAMAGED)
        with written(digest_line(contents), signature) as (_, place), damaged:
            check = ["ssh-keygen", "-Y", "check-novalidate", "-n", NAMESPACE, "-s", str(place)]
            run(check, digest_line(contents))
