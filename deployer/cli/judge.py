"""`deploy judge`: a recorded stream is judged again, by its own policy or by another one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from deployer.app.reports.judgement import judged, written
from deployer.cli.options import Common, common
from deployer.cli.output import print_result
from deployer.cli.policy import manifest_of, settings
from deployer.evidence import replay
from deployer.manifest.load import load
from deployer.manifest.models import Judge


@click.command("judge")
@common()
@click.argument("recording", metavar="FILE", type=click.Path(path_type=Path))
@click.option("-f", "--file", type=click.Path(path_type=Path), help="Use the policy of this manifest.")
@click.option("-d", "--destination", metavar="NAME", default="", help="Merge deploy.NAME.yml over the manifest.")
@click.option(
    "--set",
    "sets",
    metavar="KEY=VALUE",
    multiple=True,
    help="Override a key of the policy, e.g. judge.errors.margin=2x.",
)
def judge(common: Common, recording: Path, file: Path | None, destination: str, sets: tuple[str, ...]) -> int:
    """Replay recorded traffic against a policy: what would have been decided, and when.

    FILE is what `deploy record` wrote, or a log of requests (JSON lines or CSV). The policy is that of the recording,
    unless a manifest or single keys are given. Exits with 0 when the release passes, 3 when it is worse, 7 when it
    is inconclusive.
    """
    source = replay.open_source(recording)
    recorded = replay.recorded_policy(source)
    policy = _policy(recorded.judge, file, destination, settings(sets, "--set", "judge", "judge.errors.margin=2x"))
    under = replay.Policy(policy, recorded.sticky, recorded.routes)
    view = judged(source, replay.judge(source, under), under, recorded)
    print_result(view, common.output)
    return view.exit


def _policy(recorded: Judge, file: Path | None, destination: str, changes: dict[str, Any]) -> Judge:
    """Return the policy to judge by. Raises ManifestRefused when it is none."""
    if file:
        return load(file, destination=destination, overrides=changes, environ=os.environ).manifest.judge
    if not changes:
        return recorded
    return manifest_of(changes, "--set", {"judge": written(recorded)}).judge
