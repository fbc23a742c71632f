"""`deploy judge`: a recorded stream is judged again, by its own policy or by another one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
import yaml

from deployer.app.reports.judgement import judged, written
from deployer.cli.options import Common, common
from deployer.cli.output import print_result
from deployer.core.errors import ManifestRefused
from deployer.evidence import replay
from deployer.manifest.load import load
from deployer.manifest.models import Judge
from deployer.manifest.tree import Position, Table, literal
from deployer.manifest.validate import check

_STUB = {"service": "x", "image": "x", "port": 1}  # what a manifest must have besides a policy


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
    policy = _policy(recorded.judge, file, destination, _settings(sets))
    under = replay.Policy(policy, recorded.sticky, recorded.routes)
    view = judged(source, replay.judge(source, under), under, recorded)
    print_result(view, common.output)
    return view.exit


def _settings(sets: tuple[str, ...]) -> dict[str, Any]:
    settings = {}
    for one in sets:
        key, separator, value = one.partition("=")
        if not separator or not key.startswith("judge."):
            raise click.UsageError(f"--set {one}: write a key of the judge and its value, e.g. judge.errors.margin=2x")
        try:
            settings[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise click.UsageError(f"--set {one}: {value!r} is not a value") from None
    return settings


def _policy(recorded: Judge, file: Path | None, destination: str, settings: dict[str, Any]) -> Judge:
    """Give the policy to judge by. Raises ManifestRefused when it is none."""
    if file:
        return load(file, destination=destination, overrides=settings, environ=os.environ).manifest.judge
    if not settings:
        return recorded
    data: dict[str, Any] = {**_STUB, "judge": written(recorded)}
    for dotted, value in settings.items():
        _put(data, dotted.split("."), value)
    tree = literal(data, Position("--set"))
    checked = check(tree) if isinstance(tree, Table) else None
    if checked is None or checked.problems or checked.manifest is None:
        raise ManifestRefused(tuple(checked.problems) if checked else ())
    return checked.manifest.judge


def _put(data: dict[str, Any], path: list[str], value: Any) -> None:
    *above, last = path
    for key in above:
        if not isinstance(data.get(key), dict):
            data[key] = {}  # a section that was switched off
        data = data[key]
    data[last] = value
