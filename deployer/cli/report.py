"""`deploy report`: what became of a rollout and why, as a document."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from deployer.cli.opening import open_app
from deployer.cli.options import Common, common
from deployer.cli.output import save
from deployer.cli.values import NUMBER
from deployer.core.errors import Exit, Refused
from deployer.views.report import FORMATS, Format, render

_BY_SUFFIX: dict[str, Format] = {".html": "html", ".htm": "html", ".json": "json", ".xml": "junit", ".md": "md"}


@click.command("report")
@common("file", "destination", "service")
@click.argument("number", type=NUMBER, required=False)
@click.option("-o", "--out", type=click.Path(path_type=Path), help="File to write; default: stdout.")
@click.option("--format", "form", type=click.Choice(FORMATS), help="Default: by the file's suffix, else html.")
def report(common: Common, number: int | None, out: Path | None, form: Format | None) -> int:
    """Write a report about a rollout (default: the newest): what happened and why, with plots.

    The HTML report is one self-contained file: mail it, keep it, open it from disk. `junit` and `json` are for
    pipelines, `md` for pull requests.
    """
    if out is None and form in (None, "html") and sys.stdout.isatty():
        raise Refused("not writing HTML to a terminal", "deploy report -o report.html, or --format md")
    form = form or (_BY_SUFFIX.get(out.suffix.lower()) if out else "html")
    if form is None:
        raise Refused(f"{out} does not say its format", f"write --format {'|'.join(FORMATS)}")
    with open_app(common) as there:
        text = render(there.report(number or there.newest(there.service())), form)
    if out is None:
        sys.stdout.write(text)
        return int(Exit.DONE)
    save(text, out)
    return int(Exit.DONE)
