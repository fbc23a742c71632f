"""docs/cli.md, made from the commands themselves: `python -m deployer.cli.reference > docs/cli.md`."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import click

from deployer.cli.command_entry import CommandEntry
from deployer.cli.lazy import COMMANDS, SECTIONS, group, in_order
from deployer.cli.server_option import options
from deployer.cli.strategies import builtin_commands

HEAD = """\
# Commands

This page is generated from the commands (`python -m deployer.cli.reference`). `deploy COMMAND --help` shows the same.

Results go to stdout, progress and errors to stderr. What a command exits with is a contract:
[exit codes](exit-codes.md). A manifest is only needed to deploy; the other commands take the service from `--service`,
else from `deploy.yml` in this folder, else the only one there is.

`deploy --on ssh://HOST/FOLDER COMMAND` runs the command on a control host ([from anywhere](machines.md#from-anywhere)),
`deploy --server URL COMMAND` runs it on a server ([from another host](server.md#from-another-host)). The options
of both come before the command.

Every command but `check`, `schema` and `completion` takes `--state` (the state folder) and `--output`: `text`, `plain`
(no colour, no live view) or `json` (one event or result per line on stdout). The state folder is
`$DEPLOYER_STATE`, else `/var/lib/deployer` for root, else `$XDG_STATE_HOME/deployer`, else `~/.local/state/deployer`.
Other variables: [environment variables](environment.md).
"""
EVERYWHERE = ("state", "output")
MANY = 5  # commands: an option that stands at so many in the same words is explained once
SHARED = "options of many commands"

Row = tuple[str, str]  # the names of an option, and what it means


@dataclass(frozen=True)
class CommandHelp:
    """What the help of a command says."""

    name: str
    usage: str
    text: str
    options: tuple[Row, ...]


def reference() -> str:
    """Return the page."""
    entries = in_order(builtin_commands(), COMMANDS)
    sections = {
        section: [each for name, entry in entries.items() if entry.section == section for each in _helps(name, entry)]
        for section in SECTIONS
    }
    often = Counter(row for helps in sections.values() for each in helps for row in each.options)
    shared = dict[str, str]()
    for (names, meaning), count in often.items():
        if count >= MANY:
            shared.setdefault(names, meaning)  # one that means something else elsewhere is explained there
    context = click.Context(group(), info_name="deploy")
    lines = [
        HEAD,
        *_table(_row(option, context) for option in options()),
        f"## {SHARED.capitalize()}\n",
        *_table(shared.items()),
    ]
    for section, helps in sections.items():
        lines.append(f"## {section}\n")
        for each in helps:
            lines += _described(each, shared.items())
    return "\n".join(lines)


def _helps(name: str, entry: CommandEntry) -> Iterator[CommandHelp]:
    """Yield the help of a command, and of those below it."""
    command = group().get_command(click.Context(group()), name)
    if command is None:
        raise KeyError(name)
    if not isinstance(command, click.Group) or command.invoke_without_command:
        yield _help(name, command, entry.help)
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            yield _help(f"{name} {inner.name}", inner, "")


def _help(name: str, command: click.Command, short: str) -> CommandHelp:
    context = click.Context(command, info_name=name, parent=click.Context(group(), info_name="deploy"))
    usage = " ".join(command.collect_usage_pieces(context))
    rows = (_row(p, context) for p in command.params if isinstance(p, click.Option) and p.name not in EVERYWHERE)
    return CommandHelp(name, usage, _text(command.help or short), tuple(rows))


def _described(help_: CommandHelp, shared: Collection[Row]) -> Iterator[str]:
    yield f"### deploy {help_.name}\n"
    yield f"    deploy {help_.name} {help_.usage}\n"
    yield f"{help_.text}\n"
    yield from _table(row for row in help_.options if row not in shared)
    if also := [names.split(", ")[-1].split()[0] for names, meaning in help_.options if (names, meaning) in shared]:
        yield f"Also {', '.join(f'`{name}`' for name in also)}: [{SHARED}](#{SHARED.replace(' ', '-')}).\n"


def _table(rows: Iterable[Row]) -> Iterator[str]:
    if lines := [f"| `{names}` | {meaning} |" for names, meaning in rows]:
        yield from ("| option | meaning |", "|---|---|", *lines, "")


def _row(option: click.Option, context: click.Context) -> Row:
    names, meaning = option.get_help_record(context) or ("", "")
    return names.replace("|", " or "), meaning.replace("|", " or ")


def _text(text: str) -> str:
    """Return the help as Markdown; what click keeps as it is (after a backspace) becomes a block."""
    paragraphs = text.strip().split("\n\n")
    return "\n\n".join(
        "\n".join(f"    {line.strip()}" for line in p.splitlines()[1:])
        if p.lstrip(" ").startswith("\b")
        else " ".join(p.split())
        for p in paragraphs
    )


if __name__ == "__main__":
    sys.stdout.write(reference())
