"""The reference of an image, as engines read it: registry/path/name:tag@digest."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

_REFERENCE = re.compile(
    r"([A-Za-z0-9.-]+(:[0-9]+)?/)?[a-z0-9]+([._/-]+[a-z0-9]+)*(:[A-Za-z0-9_][A-Za-z0-9._-]*)?(@[a-z0-9]+:[0-9a-f]{32,})?"
)


def is_reference(text: str) -> bool:
    """Return whether an engine can read this as the reference of an image."""
    return bool(_REFERENCE.fullmatch(text))


def of_version(image: str, version: str | None, *, tagged: bool) -> str:
    """Return the image of a version: `{version}` filled in, or the tag replaced where images are `tagged`.

    Raise ValueError when the image has a digest and a version is asked for.
    """
    if "{version}" in image:
        if not version:
            raise ValueError("the image has {version} in it: give `version:` or --version")
        return image.replace("{version}", version)
    if not version or not tagged:
        return image
    if "@" in image:
        raise ValueError("the image is pinned by digest; a version cannot replace it")
    name = PurePosixPath(image)
    return f"{image.removesuffix(name.name)}{re.sub(r':[^:]+$', '', name.name)}:{version}"
