"""`deploy scale --replay FILE`: what policies of scaling would have done with recorded traffic."""

from __future__ import annotations

import os
from pathlib import Path

from deployer.app.reports.scaling import replayed
from deployer.cli.options import Common
from deployer.cli.output import print_result
from deployer.cli.policy import manifest_of, settings
from deployer.core.errors import Exit, Refused
from deployer.evidence import replay
from deployer.manifest.load import load
from deployer.manifest.models import Manifest
from deployer.manifest.scale import ScaleSettings

MANIFEST = "manifest"


def print_replay(common: Common, recording: Path, changes: tuple[str, ...], start: float, fixed: int) -> int:
    """Print what the policy of the manifest, and one with the changes, would have done. Raise Refused."""
    if common.server is not None:
        raise common.server.refusal("deploy scale --replay")
    source = replay.open_source(recording)
    print_result(replayed(source, _policies(common, changes), start, fixed), common.output)
    return int(Exit.DONE)


def _policies(common: Common, changes: tuple[str, ...]) -> dict[str, ScaleSettings]:
    """Return the policies to try, by name. Raise Refused where there is none."""
    found: dict[str, ScaleSettings] = {}
    there = common.named or common.file.exists()
    written = _loaded(common, ()) if there else None
    if written is not None and written.scale is not None:
        found[MANIFEST] = written.scale
    if changes:
        tried = _loaded(common, changes) if there else manifest_of(_overrides(changes), "--scale")
        if tried.scale is not None:
            found[", ".join(changes)] = tried.scale
    known = {name: policy for name, policy in found.items() if not policy.learns}
    if found and not known:
        raise Refused(
            "`concurrency: auto` is learned from how instances respond, which a recording does not say",
            "try a number, e.g. the one that `deploy scale` shows: `--scale concurrency=12`",
        )
    found = known
    if not found:
        remedy = "add it, or try a policy: `--scale max=8 --scale concurrency=12`"
        raise Refused(f"{common.file} {'has no `scale`' if there else 'is not there'}", remedy)
    return found


def _loaded(common: Common, changes: tuple[str, ...]) -> Manifest:
    destination, overrides = common.destination or "", _overrides(changes)
    manifest = load(common.file, destination=destination, overrides=overrides, environ=os.environ).manifest
    if manifest.traffic.mode == "tcp":
        raise Refused(
            f"{manifest.service} has `traffic.mode: tcp`: a recording does not say how long its sessions take",
            "replay the traffic of a service with http",
        )
    return manifest


def _overrides(changes: tuple[str, ...]) -> dict[str, object]:
    return settings((f"scale.{change}" for change in changes), "--scale", "scale", "hold=2m")
