"""Data that a release would not find, as it stands on other hosts than the one before. Pure."""

from __future__ import annotations

from deployer.model import Observed, Release
from deployer.planning.steps import named


def left_behind(observed: Observed, release: Release) -> str:
    """Return which volumes of the live release stay where it stands; "" where the release is on one of its hosts, too.

    Folders are left out: they may be shared storage.
    """
    if observed.stable is None or observed.live is None:
        return ""
    before, after = observed.stable.host_names(observed.live.stable), release.host_names(observed.colour)
    volumes = tuple(m.source for m in release.manifest.mounts if not m.read_only and not m.source.startswith("/"))
    if not volumes or set(before or ("",)) & set(after or ("",)):
        return ""
    there = named(before) if before else "this host"
    return f"the data in {named(volumes)} stays on {there}: this release begins with empty volumes, or with older ones"
