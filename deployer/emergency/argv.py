"""What is asked, read off the command line without a parser, where it is plain; the rest is for the whole command."""

from __future__ import annotations

from deployer.core.limits import REASON
from deployer.core.local_host import state_folder
from deployer.emergency import endpoint

COMMANDS = ("abort", "rollback")
# Options of both commands that take a value, and the one name for each.
VALUES = {
    "--service": "service",
    "--state": "state",
    "--store": "store",
    "--file": "file",
    "-f": "file",
    "--destination": "destination",
    "-d": "destination",
    "--message": "message",
    "-m": "message",
    "--output": "output",
}


class Arguments:
    """A command, the service that it means, and the state folder."""

    __slots__ = ("command", "output", "reason", "service", "state")

    def __init__(self, command: str, service: str, state: str, output: str, reason: str) -> None:
        self.command, self.service, self.state, self.output, self.reason = command, service, state, output, reason


def read(arguments: list[str]) -> Arguments | None:
    """Read the arguments of `deploy`; None for anything but an abort or a rollback of one service that is clear."""
    if not arguments or arguments[0] not in COMMANDS:
        return None
    given: dict[str, str] = {}
    rest = iter(arguments[1:])
    for word in rest:
        option, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
        name = VALUES.get(option)
        value = value if equals else next(rest, "")
        if name is None or not value:
            return None  # --help, --to, --force, a mistake
        given[name] = value
    state = given.get("state") or state_folder()
    manifest = given.get("file", "deploy.yml"), given.get("destination", "")
    service = given.get("service") or of_manifest(*manifest) or _only(state, given)
    if not service or not endpoint.is_name(service) or not is_sentence(given.get("message", "")):
        return None
    return Arguments(arguments[0], service, state, given.get("output", "text"), given.get("message", ""))


def is_sentence(text: str) -> bool:
    """Return whether the whole command takes a reason: it must not refuse what users were moved for."""
    return len(text) <= REASON and all(c.isprintable() or c in "\t\n" for c in text)


def of_manifest(path: str, destination: str) -> str:
    """Read the service's name off a manifest that says it plainly; a reader of YAML would take longer than the rest.

    Gives nothing where there is no manifest, and what is no name where it is not plain.
    """
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - pathlib costs
            lines = [line for line in file if line.startswith("service:")]
    except (OSError, ValueError):
        return ""
    name = lines[0].removeprefix("service:").partition(" #")[0].strip() if len(lines) == 1 else "?"
    return f"{name}-{destination}" if destination else name


def _only(state: str, given: dict[str, str]) -> str:
    names = endpoint.services(state)
    return names[0] if len(names) == 1 and "file" not in given else ""
