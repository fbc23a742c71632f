"""Commands for beginnings: `init`, `doctor`, `schema`."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from deployer.cli.options import Common, common
from deployer.cli.output import print_result
from deployer.cli.session import house
from deployer.cli.values import WholeNumber, request_rate
from deployer.core import files
from deployer.core.errors import Exit, Refused
from deployer.manifest import schema as schema_file
from deployer.manifest.load import load
from deployer.manifest.models import Manifest
from deployer.manifest.suggest import suggest
from deployer.manifest.template import InitAnswers, template

OF_USERS = ("port", "health", "domains", "listen", "traffic")  # options that say nothing of a worker


@click.command("init")
@common("file", "yes")
@click.option("--service", help="Name of the service.")
@click.option("--image", help="Image, or directory for runtime process.")
@click.option("--port", type=WholeNumber(1, 65535), help="Port on which an instance listens.")
@click.option("--worker", is_flag=True, help="A service without a port, which no user reaches.")
@click.option("--runtime", type=click.Choice(["docker", "process"]), help="What runs the instances.")
@click.option("--command", help="Command of an instance (runtime process).")
@click.option("--health", help="Path of the health check.")
@click.option("--domain", "domains", multiple=True, help="Host name of the service; may be repeated.")
@click.option("--listen", help="Public address of the proxy, e.g. *:80.")
@click.option("--replicas", type=WholeNumber(1, 100), help="Number of instances.")
@click.option(
    "--traffic",
    callback=request_rate,
    metavar="N/s",
    help="Expected requests, e.g. 20/s, 3/min or 100/h; chooses the strategy.",
)
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@click.option(
    "--system", is_flag=True, help="Install a systemd unit that starts the proxy and processes at boot; needs root."
)
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Compose file; writes a manifest beside it for each service that users reach or that is a worker.",
)
@click.option("--profile", "profiles", multiple=True, help="With --from: include the services of this profile.")
def init(
    common: Common,
    command: str | None,
    force: bool,
    system: bool,
    source: Path | None,
    profiles: tuple[str, ...],
    **given: Any,
) -> int:
    """Write a commented deploy.yml; missing values are guessed from this folder and asked for in a terminal.

    --from makes it from a Compose file. --system writes a systemd unit for the state folder instead.
    """
    if system:
        return _install_unit(common.state)
    if source is not None:
        others = [key for key, value in given.items() if value and key != "service"] + ["command"] * bool(command)
        return _from_compose(common, source, given["service"] or "", profiles, force, others)
    if profiles:
        raise click.UsageError("--profile goes with --from")
    if given["worker"] and (of_users := [key for key in OF_USERS if given[key]]):
        option = "--" + {"domains": "domain"}.get(of_users[0], of_users[0])
        raise click.UsageError(f"{option} does not go with --worker: no user reaches it")
    if common.file.exists() and not force:
        raise Refused(f"{common.file} exists", "--force writes over it, -f names another file")
    answers = replace(suggest(Path.cwd()), **{k: v for k, v in given.items() if v})
    if command:
        answers = replace(answers, command=tuple(shlex.split(command)))
    if sys.stdin.isatty() and not common.yes:
        answers = _ask(answers, {k for k, v in given.items() if v} | ({"command"} if command else set()))
    text = template(answers)
    files.replace(common.file, text, 0o644)
    sys.stdout.write(f"wrote {common.file}; `deploy plan` shows what it would do\n")
    _place_schema(common.file.parent)
    return int(Exit.DONE)


def _from_compose(
    common: Common, source: Path, only: str, profiles: tuple[str, ...], force: bool, others: list[str]
) -> int:
    from deployer.manifest.compose import migrate
    from deployer.manifest.compose.report import lines

    if others:
        option = "--" + {"domains": "domain"}.get(others[0], others[0])
        raise click.UsageError(f"{option} does not go with --from: change it in the manifest")
    made = migrate(source, os.environ, only=only, profiles=profiles, name=common.file.name)
    if common.file.parent.absolute() != made.source.parent and common.file.parent != Path():
        raise Refused(
            f"{common.file} is not beside {made.source}",
            "a manifest of a Compose file is beside it: paths and .env are found from there",
        )
    there = [each.file.name for each in made.taken if each.file.exists()]
    if there and not force:
        raise Refused(f"{', '.join(there)}: there already", "--force writes over it; nothing was written")
    for each in made.taken:
        files.replace(each.file, each.text, 0o644)
    _place_schema(made.source.parent)
    sys.stdout.writelines(f"{line}\n" for line in lines(made, Path.cwd()))
    return int(Exit.DONE)


def _place_schema(folder: Path) -> None:
    """Write what the first line of a manifest names, and say so."""
    if schema_file.place(folder):
        sys.stdout.write(f"wrote {schema_file.FILE}: editors with a YAML language server check the manifest by it\n")
    else:
        sys.stdout.write(f"{schema_file.FILE} is there already and is no schema of deploy.yml: it stays as it is\n")


def _install_unit(state: Path) -> int:
    from deployer.supervisor import unit

    if not state.is_dir():
        raise Refused(f"{state} is not a state folder", "name it with --state; the first `deploy up` makes it")
    file = unit.install(state)
    sys.stdout.write(f"wrote and enabled {file}: at each boot it starts the proxy and the processes of {state}\n")
    return int(Exit.DONE)


def _ask(answers: InitAnswers, known: set[str]) -> InitAnswers:
    """Ask for what was not given, with the guess as default."""

    def ask(key: str, question: str, **more: Any) -> None:
        nonlocal answers
        if key not in known:
            value = click.prompt(question, default=getattr(answers, key), err=True, **more)
            answers = replace(answers, **{key: value})

    ask("service", "Name of the service")
    ask("runtime", "What runs the instances", type=click.Choice(["docker", "process"]))
    ask("image", "Image" if answers.runtime == "docker" else "Directory; {version} is replaced by the version")
    if answers.runtime == "process" and "command" not in known:
        answers = replace(answers, command=tuple(shlex.split(click.prompt("Command of an instance", err=True))))
    if answers.worker:
        return answers
    ask("port", "Port on which an instance listens", type=WholeNumber(1, 65535))
    ask("health", "Path of the health check (empty: an accepted connection)")
    ask("listen", "Address that users reach")
    rates = "Requests that it gets, e.g. 20/s, 3/min, 100/h (empty: not known)"
    ask("traffic", rates, value_proc=lambda text: request_rate(None, None, text))
    return answers


@click.command("doctor")
@common("file", "destination")
@click.option("--fix", "mend", is_flag=True, help="Apply the safe fixes, then check again.")
def doctor(common: Common, mend: bool) -> int:
    """Check this host, and that state database, runtime and proxy agree; exit with 8 if something needs attention.

    Each finding comes with its fix. --fix applies the safe fixes; it never removes anything that serves traffic.
    """
    from deployer.app.doctor import examine, fix

    manifest: Manifest | None = None
    folder = Path()
    if common.file.exists():
        loaded = load(common.file, destination=common.destination or "", environ=os.environ)
        manifest, folder = loaded.manifest, loaded.folder
    with house(common) as opened:
        view = fix(opened, manifest, folder) if mend else examine(opened, manifest, folder)
        print_result(view, common.output)
    return int(Exit.NEEDS_PERSON if any(f.level == "bad" for f in view.findings) else Exit.DONE)


@click.command("schema")
def schema() -> int:
    """Print the JSON Schema of deploy.yml, for editors and checks."""
    sys.stdout.write(schema_file.text())
    return int(Exit.DONE)
