"""Manual pages, made from the commands themselves: `python -m deployer.cli.man FOLDER` writes one for each command."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from deployer import __version__
from deployer.cli.command_entry import CommandEntry
from deployer.cli.lazy import COMMANDS, SECTIONS, group, in_order
from deployer.cli.server_option import options
from deployer.cli.strategies import builtin_commands
from deployer.core import files
from deployer.core.errors import Exit

_SHORT = "blue-green and canary deployments, judged on live traffic"
_CODES = {
    Exit.DONE: "done, or nothing to do",
    Exit.INTERNAL: "an error in deploy itself",
    Exit.REFUSED: "refused before anything changed: usage, manifest, or something that is missing",
    Exit.VERDICT: "rolled back: the new release was worse, or its budget was spent",
    Exit.FAILED: "rolled back: a build, a migration, a health check or a smoke test failed",
    Exit.LOCKED: "another deploy of the service is in progress",
    Exit.ABORTED: "aborted by a person",
    Exit.INCONCLUSIVE: "inconclusive, paused, or an approval is missing",
    Exit.NEEDS_PERSON: "needs attention",
    Exit.CHANGES: "`deploy plan --check` found changes",
}
_FILES = {
    "deploy.yml": "The manifest. `deploy init` writes one, `deploy check` says what is wrong in it.",
    "/var/lib/deployer, ~/.local/state/deployer": "The state folder of root, and of other users; --state or "
    "DEPLOYER_STATE names another one.",
}


def pages() -> dict[str, str]:
    """Return the text of each manual page by the name of its file."""
    deploy = group()
    top = click.Context(deploy, info_name="deploy")
    made = {"deploy.1": _page("deploy", _SHORT, _of_all(top))}
    for name, entry in _entries().items():
        command = deploy.get_command(top, name)
        if command is None:
            raise KeyError(name)
        context = click.Context(command, info_name=name, parent=top)
        made[f"deploy-{name}.1"] = _page(f"deploy-{name}", entry.help, _of_one(command, context))
    return made


def _entries() -> dict[str, CommandEntry]:
    every = in_order(builtin_commands(), COMMANDS)
    return {name: entry for name, entry in every.items() if not entry.help.startswith("(internal)")}


def _page(name: str, short: str, rest: Iterator[str]) -> str:
    head = f'.TH {_text(name.upper())} 1 "" "deployer {__version__}" "deployer"'
    return "\n".join((head, ".SH NAME", f"{_text(name)} \\- {_text(short)}", *rest)) + "\n"


def _of_all(context: click.Context) -> Iterator[str]:
    yield from (".SH SYNOPSIS", r".B deploy", "[OPTIONS] COMMAND [ARGUMENTS]")
    yield ".SH DESCRIPTION"
    yield from _paragraphs(context.command.help or "")
    for section in SECTIONS:
        yield f".SS {_text(section)}"
        for name, entry in _entries().items():
            if entry.section == section:
                yield from (".TP", f".BR deploy\\-{_text(name)} (1)", _text(entry.help))
    yield ".SH OPTIONS"
    yield from _options(options(), context)
    yield ".SH EXIT STATUS"
    for code, meaning in _CODES.items():
        yield from (".TP", f".B {int(code)}", _text(meaning))
    yield ".SH FILES"
    for file, meaning in _FILES.items():
        yield from (".TP", f".I {_text(file)}", _text(meaning))


def _of_one(command: click.Command, context: click.Context) -> Iterator[str]:
    yield ".SH SYNOPSIS"
    yield from _synopsis(command, context)
    yield ".SH DESCRIPTION"
    yield from _paragraphs(command.help or command.short_help or "")
    inner = command.commands.values() if isinstance(command, click.Group) else ()
    own = [p for p in command.params if isinstance(p, click.Option)]
    if own:
        yield ".SH OPTIONS"
        yield from _options(own, context)
    for each in inner:
        below = click.Context(each, info_name=each.name, parent=context)
        yield f".SH {_text((each.name or '').upper())}"
        yield from _synopsis(each, below)
        yield ".PP"
        yield from _paragraphs(each.help or "")
        yield from _options([p for p in each.params if isinstance(p, click.Option)], below)
    yield from (".SH SEE ALSO", ".BR deploy (1)")


def _synopsis(command: click.Command, context: click.Context) -> Iterator[str]:
    yield f".B {_text(context.command_path)}"
    yield _text(" ".join(command.collect_usage_pieces(context)))


def _options(found: Sequence[click.Option], context: click.Context) -> Iterator[str]:
    for option in found:
        names, meaning = option.get_help_record(context) or ("", "")
        if names:
            yield from (".TP", f".B {_text(names)}", _text(" ".join(meaning.split()) or "See above."))


def _paragraphs(text: str) -> Iterator[str]:
    """Yield a help as paragraphs; what click keeps as it is (after a backspace) keeps its lines."""
    for number, paragraph in enumerate(re.split(r"\n\s*\n", text.strip())):
        if number:
            yield ".PP"
        if paragraph.lstrip().startswith("\b"):
            yield from (".nf", *(_text(line.strip()) for line in paragraph.splitlines()[1:]), ".fi")
        else:
            yield _text(" ".join(paragraph.split()))


def _text(text: str) -> str:
    """Return a text of which roff takes no character as a request or an escape."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{escaped}" if escaped[:1] in (".", "'") else escaped


def write(folder: Path) -> int:
    """Write all pages into a folder; return how many there are."""
    folder.mkdir(parents=True, exist_ok=True)
    made = pages()
    for name, text in made.items():
        files.replace(folder / name, text, 0o644)
    return len(made)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m deployer.cli.man FOLDER")
    sys.stdout.write(f"wrote {write(Path(sys.argv[1]))} pages to {sys.argv[1]}; `man -M` or MANPATH finds them\n")
