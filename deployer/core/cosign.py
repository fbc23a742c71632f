"""The program cosign: what it must not take from the environment, and where it is to be had."""

from __future__ import annotations

from collections.abc import Mapping

INSTALL = "install it: apt-get install cosign, or https://github.com/sigstore/cosign/releases"
# Each option of cosign can be given by a variable (COSIGN_INSECURE_IGNORE_TLOG=true), and so can the keys that it
# trusts: what was started by a pipeline would be only as strict as that pipeline wants.
_WEAKENING = ("COSIGN_", "SIGSTORE_", "TUF_", "REKOR_")


def surroundings(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without what makes cosign less strict; credentials of registries stay."""
    return {name: value for name, value in environ.items() if not name.upper().startswith(_WEAKENING)}
