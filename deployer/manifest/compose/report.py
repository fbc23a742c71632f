"""What `deploy init --from FILE` says: what was written, what stays, what was not taken over, what to type next."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from deployer.manifest.compose.migration import Migration


def lines(made: Migration, here: Path) -> Iterator[str]:
    """Return the lines for a person whose shell is `here`."""
    for each in made.taken:
        yield f"wrote {each.file.name}: service {each.name} ({each.where})"
    if made.left:
        yield "left with Compose:"
    for left in made.left:
        yield f"  {left.name} ({left.where}): {left.why}{'; ' + left.reach if left.reach else ''}"
    notes = [*made.notes, *(note for each in made.taken for note in each.notes)]
    if notes:
        yield "not taken over:"
    for note in notes:
        yield f"  {note}"
    yield "next:"
    if made.source.parent != here:
        yield f"  cd {shlex.quote(str(made.source.parent))}"
    for step in made.steps:
        yield f"  {step}"
