"""`index.json` of a bundle: the image that other programs find, the contents, a signature, what a delta leaves out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from deployer.bundle.contents import Contents, OciImage, canonical, digest_of

LAYOUT = canonical({"imageLayoutVersion": "1.0.0"})
_CONTENTS = "io.deployer.bundle"
_LEFT_OUT = "io.deployer.bundle.left-out"
_SIGNATURE = "io.deployer.bundle.signature"


@dataclass(frozen=True)
class Index:
    """What the index of a bundle says; `left_out` are the digests of parts that are in an older bundle."""

    contents: str
    left_out: tuple[str, ...] = ()
    signature: str = ""

    @classmethod
    def read(cls, data: bytes) -> Index:
        """Read an index; whether it is the one of its contents, `data` shows. Raise ValueError."""
        try:
            document = json.loads(data)
            said = document["annotations"]
            left_out = tuple(filter(None, said.get(_LEFT_OUT, "").split(",")))
            return cls(str(said[_CONTENTS]), left_out, str(said.get(_SIGNATURE, "")))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise ValueError("it is the index of an image layout, but not of a bundle") from None

    def data(self, contents: Contents) -> bytes:
        """Write it."""
        said = {_CONTENTS: self.contents}
        if self.left_out:
            said[_LEFT_OUT] = ",".join(self.left_out)
        if self.signature:
            said[_SIGNATURE] = self.signature
        document: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [_described(contents.image)] if contents.image else [],
            "annotations": said,
        }
        return canonical(document)


def _described(image: OciImage) -> dict[str, Any]:
    manifest = image.manifest()
    return {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": digest_of(manifest),
        "size": len(manifest),
        "annotations": {"org.opencontainers.image.ref.name": image.reference},
        "platform": {"os": image.os, "architecture": image.architecture},
    }
