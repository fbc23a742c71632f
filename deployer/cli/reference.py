"""docs/cli.md, made from the commands themselves: `python -m deployer.cli.reference > docs/cli.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click

from deployer.cli.command_entry import CommandEntry
from deployer.cli.lazy import COMMANDS, SECTIONS, group
from deployer.cli.server_option import options
from deployer.cli.strategies import builtin_commands

HEAD = """\
# Commands

This page is generated from the commands (`python -m deployer.cli.reference`). `deploy COMMAND --help` shows the same.

Results go to stdout, progress and errors to stderr. What a command exits with is a contract:
[exit codes](exit-codes.md). A manifest is only needed to deploy; the other commands take the service from `--service`,
else from `deploy.yml` in this folder, else the only one there is.

`deploy --on ssh://HOST/FOLDER COMMAND` runs the command on a control host ([from anywhere](machines.md#from-anywhere)),
`deploy --server URL COMMAND` runs it on a server ([from another machine](server.md#from-another-machine)). The options
of both come before the command.

Every command but `check`, `schema` and `completion` takes `--state` and `--output`. The state folder is
`$DEPLOYER_STATE`, else `/var/lib/deployer` for root, else `$XDG_STATE_HOME/deployer`, else `~/.local/state/deployer`.
Other variables: [environment variables](environment.md).
"""
EVERYWHERE = ("state", "output")


def reference() -> str:
    """Give the page."""
    entries = {**builtin_commands(), **COMMANDS}
    context = click.Context(group(), info_name="deploy")
    lines = [HEAD, "| option | meaning |", "|---|---|", *(_row(option, context) for option in options()), ""]
    for section in SECTIONS:
        lines.append(f"## {section}\n")
        for name, entry in entries.items():
            if entry.section == section:
                lines += _command(name, entry)
    return "\n".join(lines)


def _command(name: str, entry: CommandEntry) -> Iterator[str]:
    command = group().get_command(click.Context(group()), name)
    if command is None:
        raise KeyError(name)
    if not isinstance(command, click.Group) or command.invoke_without_command:
        yield from _page(name, command, entry.help)
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            yield from _page(f"{name} {inner.name}", inner, "")


def _page(name: str, command: click.Command, short: str) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=click.Context(group(), info_name="deploy"))
    yield f"### deploy {name}\n"
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"    deploy {name} {usage}\n"
    yield f"{_text(command.help or short)}\n"
    rows = [_row(p, context) for p in command.params if isinstance(p, click.Option) and p.name not in EVERYWHERE]
    if rows:
        yield from ("| option | meaning |", "|---|---|", *rows, "")


def _row(option: click.Option, context: click.Context) -> str:
    names, meaning = option.get_help_record(context) or ("", "")
    return f"| `{names.replace('|', ' or ')}` | {meaning.replace('|', ' or ')} |"


def _text(text: str) -> str:
    """Give the help as Markdown; what click keeps as it is (after a backspace) becomes a block."""
    paragraphs = text.strip().split("\n\n")
    return "\n\n".join(
        "\n".join(f"    {line.strip()}" for line in p.splitlines()[1:])
        if p.lstrip(" ").startswith("\b")
        else " ".join(p.split())
        for p in paragraphs
    )


if __name__ == "__main__":
    sys.stdout.write(reference())
