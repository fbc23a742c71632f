"""The group `deploy`: commands are known by name and one line of help, and imported when they are called."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass

import click
from click.shell_completion import CompletionItem

from deployer.cli.server_option import options, refuse_unserved

SECTIONS = ("Deploy", "Watch", "Act", "Set up")


@dataclass(frozen=True)
class Entry:
    """A command before it is imported: where it stands in the help, what it does, and `module:attribute`."""

    section: str
    help: str
    target: str


COMMANDS: dict[str, Entry] = {
    "up": Entry("Deploy", "Deploy with the strategy of the manifest", "deployer.cli.deploying:up"),
    "plan": Entry("Deploy", "Show what a deploy would do, and change nothing", "deployer.cli.deploying:plan"),
    "gitops": Entry("Deploy", "Follow a branch of a Git repository", "deployer.cli.gitops:gitops"),
    "serve": Entry("Deploy", "Serve the HTTP API", "deployer.cli.serving:serve"),
    "status": Entry("Watch", "Show what is live now, read from proxy and engine", "deployer.cli.watching:status"),
    "watch": Entry("Watch", "Follow the rollout that is under way", "deployer.cli.watching:watch"),
    "history": Entry("Watch", "List the rollouts of a service", "deployer.cli.watching:history"),
    "releases": Entry("Watch", "List the releases of a service", "deployer.cli.watching:releases"),
    "show": Entry("Watch", "Show one rollout: steps, events, numbers, who and why", "deployer.cli.watching:show"),
    "report": Entry("Watch", "Write a page about a rollout, with plots", "deployer.cli.reporting:report"),
    "audit": Entry("Watch", "List who did what and why, or verify the log of it", "deployer.cli.auditing:audit"),
    "record": Entry("Watch", "Record what both sides answer", "deployer.cli.recording:record"),
    "judge": Entry("Watch", "Judge a recorded stream again, by any policy", "deployer.cli.judging:judge"),
    "logs": Entry("Watch", "Print what the instances wrote", "deployer.cli.watching:logs"),
    "approve": Entry("Act", "Let a rollout go on that waits for you", "deployer.cli.acting:approve"),
    "promote": Entry("Act", "Finish an unfinished rollout forward", "deployer.cli.acting:promote"),
    "abort": Entry("Act", "Stop an unfinished rollout and go back", "deployer.cli.acting:abort"),
    "rollback": Entry("Act", "Leave the live release for the one before", "deployer.cli.acting:rollback"),
    "pause": Entry("Act", "Hold a running rollout at its share", "deployer.cli.acting:pause"),
    "resume": Entry("Act", "Go on with a rollout that is held or was interrupted", "deployer.cli.acting:resume"),
    "release-lock": Entry("Act", "Take the lock away from whoever holds it", "deployer.cli.acting:release_lock"),
    "down": Entry("Act", "Take the service down: instances, traffic and all", "deployer.cli.acting:down"),
    "adopt": Entry("Set up", "Rebuild the records of what runs, when they were lost", "deployer.cli.adopting:adopt"),
    "init": Entry("Set up", "Write a commented deploy.yml", "deployer.cli.setting_up:init"),
    "doctor": Entry("Set up", "Check this machine, the engine and the proxy", "deployer.cli.setting_up:doctor"),
    "hosts": Entry("Set up", "List, check, prepare and update machines", "deployer.cli.machines:group"),
    "notify": Entry("Set up", "Try whether people who are to be told of rollouts are", "deployer.cli.notifying:group"),
    "proxy": Entry("Set up", "Answer, over ssh, for the proxy of this machine", "deployer.cli.proxying:proxy"),
    "token": Entry("Set up", "Make, list and revoke tokens of the HTTP API", "deployer.cli.serving:token"),
    "schema": Entry("Set up", "Print the JSON Schema of deploy.yml", "deployer.cli.setting_up:schema"),
    "completion": Entry("Set up", "Print the completion script of a shell", "deployer.cli.completion:command"),
}


# What a server can be asked for (--server), besides strategies; the rest is about the machine where it is called.
SERVED = frozenset(
    {"up", "plan", "status", "watch", "history", "releases", "show", "report", "audit", "logs"}
    | {"approve", "promote", "abort", "rollback", "pause", "resume", "release-lock", "down"}
)


class LazyGroup(click.Group):
    """A group that shows its help without importing a command."""

    def __init__(self, entries: Mapping[str, Entry], **attributes: object) -> None:
        super().__init__(**attributes)  # type: ignore[arg-type]
        self.entries = entries

    def every(self) -> dict[str, Entry]:
        """Give the declared commands and the strategies; a declared name wins."""
        from deployer.cli.strategies import extra_commands

        return {**extra_commands(), **self.entries}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Give the names of all commands."""
        return list(self.every())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command; None when there is none of that name."""
        entry = self.entries.get(cmd_name) or self.every().get(cmd_name)
        return _load(cmd_name, entry) if entry else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is meant; propose what is near an unknown name."""
        name = args[0]
        command = self.get_command(ctx, name)
        if command is None and not ctx.resilient_parsing:
            import difflib

            near = difflib.get_close_matches(name, self.every(), n=3, cutoff=0.55)
            meant = f"; did you mean {' or '.join(near)}?" if near else ""
            raise click.UsageError(f"there is no command {name!r}{meant}", ctx)
        if not ctx.resilient_parsing:
            refuse_unserved(ctx, name, served=name in SERVED or name not in self.entries)
        return name if command else None, command, args[1:]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the sections of the help."""
        entries = self.every()
        widest = max(map(len, entries))
        for section in SECTIONS:
            rows = [(name, entry.help) for name, entry in entries.items() if entry.section == section]
            if not rows:
                continue
            with formatter.section(section):
                formatter.write_dl(rows, col_spacing=2 + widest - max(len(name) for name, _ in rows))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete names of commands without importing them."""
        found = [
            CompletionItem(name, help=entry.help) for name, entry in self.every().items() if name.startswith(incomplete)
        ]
        return found or click.Command.shell_complete(self, ctx, incomplete)


def group() -> LazyGroup:
    """Make the group `deploy`."""
    deploy = LazyGroup(
        COMMANDS,
        name="deploy",
        help="Put a new release next to the running one, give it a small share of the users, watch what they get,"
        " then move everyone over or take everyone back.",
        epilog="`deploy COMMAND --help` explains a command. Results go to stdout, progress to stderr;"
        " exit codes are a contract.",
        context_settings={"help_option_names": ["-h", "--help"]},
        no_args_is_help=False,
        invoke_without_command=True,
    )
    deploy.callback = click.pass_context(_bare)
    version = click.Option(
        ["--version"], is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Show the version."
    )
    deploy.params += [version, *options()]
    return deploy


def _bare(ctx: click.Context, **_: object) -> None:
    """Show the help when no command is given."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def _version(ctx: click.Context, _: click.Parameter, given: bool) -> None:
    if given and not ctx.resilient_parsing:
        from deployer import __version__

        click.echo(f"deploy {__version__}")
        ctx.exit()


def _load(name: str, entry: Entry) -> click.Command:
    module, _, attribute = entry.target.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    command: click.Command = found if isinstance(found, click.Command) else found(name)
    command.short_help = entry.help
    return command
