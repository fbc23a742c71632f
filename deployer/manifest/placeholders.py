"""Words in braces in a text of the manifest, which are filled in later."""

from __future__ import annotations

import re
from collections.abc import Mapping

PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}", re.ASCII)


def fill(text: str, values: Mapping[str, str]) -> str:
    """Replace each {word} that `values` knows; leave every other one as it is."""
    return PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), text)


def words_in(*texts: str | None) -> set[str]:
    """Return the {words} of texts."""
    return {word for text in texts for word in PLACEHOLDER.findall(text or "")}
