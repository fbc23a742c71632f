"""The group `deploy`: commands are known by name and one line of help, and imported when they are called."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from deployer.cli.command_entry import CommandEntry, here
from deployer.cli.server_option import options, refuse_unserved

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

SECTIONS = ("Deploy", "Watch", "Act", "Set up")
FIRST = ("up", "plan")  # of the help, before the strategies

COMMANDS: dict[str, CommandEntry] = {
    "up": CommandEntry("Deploy", "Deploy with the strategy of the manifest", "deployer.cli.deploy:up"),
    "plan": CommandEntry("Deploy", "Show what a deploy would do", "deployer.cli.deploy:plan"),
    "bundle": here("Deploy", "Pack a release into one file, for hosts without a registry", "deployer.cli.bundle:group"),
    "release": CommandEntry("Deploy", "Release several services together", "deployer.cli.release:group"),
    "gitops": here("Deploy", "Follow a branch of a Git repository", "deployer.cli.gitops:gitops"),
    "serve": here("Deploy", "Serve the HTTP API and the web UI", "deployer.cli.serve:serve"),
    "keep": here("Deploy", "Look after live services between deploys", "deployer.cli.keep:keep"),
    "status": CommandEntry("Watch", "Show what is live now", "deployer.cli.queries:status"),
    "jobs": CommandEntry("Watch", "Show scheduled jobs, their next and last runs", "deployer.cli.jobs:jobs"),
    "watch": CommandEntry("Watch", "Follow the rollout in progress", "deployer.cli.queries:watch"),
    "history": CommandEntry("Watch", "List the rollouts of a service", "deployer.cli.queries:history"),
    "releases": CommandEntry("Watch", "List the releases of a service", "deployer.cli.queries:releases"),
    "show": CommandEntry("Watch", "Show one rollout: steps, events, measurements", "deployer.cli.queries:show"),
    "report": CommandEntry("Watch", "Write a report about a rollout, with plots", "deployer.cli.report:report"),
    "cost": CommandEntry("Watch", "Show instance-hours, and what scaling and sleep saved", "deployer.cli.cost:cost"),
    "guests": here("Watch", "List the services of tenants, and what they use", "deployer.cli.guests:guests"),
    "audit": CommandEntry("Watch", "Show, verify or export the audit log", "deployer.cli.audit:audit"),
    "record": here("Watch", "Record live traffic for `deploy judge`", "deployer.cli.record:record"),
    "judge": here("Watch", "Replay recorded traffic against a policy", "deployer.cli.judge:judge"),
    "logs": CommandEntry("Watch", "Print recent logs of the instances", "deployer.cli.queries:logs"),
    "approve": CommandEntry("Act", "Approve a rollout that is waiting for you", "deployer.cli.control:approve"),
    "promote": CommandEntry("Act", "Promote the rollout in progress now", "deployer.cli.control:promote"),
    "abort": CommandEntry("Act", "Abort the rollout in progress and roll it back", "deployer.cli.control:abort"),
    "rollback": CommandEntry("Act", "Return to the previous release", "deployer.cli.control:rollback"),
    "pause": CommandEntry("Act", "Pause the rollout in progress at its share", "deployer.cli.control:pause"),
    "resume": CommandEntry("Act", "Continue a paused or interrupted rollout", "deployer.cli.control:resume"),
    "drain": CommandEntry("Act", "Close connections to releases that users have left", "deployer.cli.control:drain"),
    "scale": CommandEntry("Act", "Show or change how many instances run", "deployer.cli.scale:scale"),
    "evict": CommandEntry("Act", "Evict guests, or let them in again", "deployer.cli.guests:evict"),
    "migrate": CommandEntry("Act", "Finish the migration of the live release", "deployer.cli.migrate:group"),
    "run": CommandEntry("Act", "Run a job of the live release now", "deployer.cli.jobs:run"),
    "release-lock": CommandEntry("Act", "Break the lock of a service", "deployer.cli.control:release_lock"),
    "down": CommandEntry("Act", "Take the service offline and remove its instances", "deployer.cli.control:down"),
    "adopt": here("Set up", "Rebuild a lost state database", "deployer.cli.adopt:adopt"),
    "init": here("Set up", "Write a commented deploy.yml", "deployer.cli.setup:init"),
    "check": here("Set up", "Check a manifest, without contacting anything", "deployer.cli.check:check"),
    "doctor": here("Set up", "Check host, engine and proxy, and fix drift", "deployer.cli.setup:doctor"),
    "certs": here("Set up", "List, renew and import TLS certificates", "deployer.cli.certs:certs"),
    "hosts": here("Set up", "List, check, prepare and update hosts", "deployer.cli.hosts:group"),
    "tenants": here("Set up", "List the tenants of hosts, and their services", "deployer.cli.guests:tenants"),
    "store": here("Set up", "Move the records into a database, or back", "deployer.cli.store:group"),
    "notify": here("Set up", "Test notifications", "deployer.cli.notify:group"),
    "proxy": here("Set up", "(internal) Serve the proxy of this host over ssh", "deployer.cli.proxy:proxy"),
    "token": here("Set up", "Create, list and revoke tokens of the HTTP API", "deployer.cli.serve:token"),
    "schema": here("Set up", "Print the JSON Schema of deploy.yml", "deployer.cli.setup:schema"),
    "completion": here("Set up", "Print the completion script of a shell", "deployer.cli.completion:command"),
}


def in_order(strategies: Mapping[str, CommandEntry], declared: Mapping[str, CommandEntry]) -> dict[str, CommandEntry]:
    """Return all commands in the order of the help; a declared name wins."""
    return {**{name: declared[name] for name in FIRST}, **strategies, **declared}


class LazyGroup(click.Group):
    """A group that shows its help without importing a command."""

    def __init__(self, entries: Mapping[str, CommandEntry], **attributes: object) -> None:
        super().__init__(**attributes)  # type: ignore[arg-type]
        self.entries = entries

    def every(self) -> dict[str, CommandEntry]:
        """Return the declared commands and the strategies; a declared name wins."""
        from deployer.cli.strategies import extra_commands

        return in_order(extra_commands(), self.entries)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of all commands."""
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
            refuse_unserved(ctx, name, served=name not in self.entries or self.entries[name].served)
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
        from click.shell_completion import CompletionItem

        found = [
            CompletionItem(name, help=entry.help) for name, entry in self.every().items() if name.startswith(incomplete)
        ]
        return found or click.Command.shell_complete(self, ctx, incomplete)


def group() -> LazyGroup:
    """Make the group `deploy`."""
    deploy = LazyGroup(
        COMMANDS,
        name="deploy",
        help="Start a new release beside the running one, send it a small percentage of live traffic, compare error"
        " rates and latency, and promote it or roll it back automatically.",
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


def _load(name: str, entry: CommandEntry) -> click.Command:
    module, _, attribute = entry.target.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    command: click.Command = found if isinstance(found, click.Command) else found(name)
    command.short_help = entry.help
    return command
