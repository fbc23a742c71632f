"""`deploy completion SHELL`: the completion script of a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from deployer.cli import COMPLETE
from deployer.core.errors import Refused


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash:  deploy completion bash > ~/.local/share/bash-completion/completions/deploy
    zsh:   deploy completion zsh > "${fpath[1]}/_deploy"
    fish:  deploy completion fish > ~/.config/fish/completions/deploy.fish
    """
    found = get_completion_class(shell)
    if found is None:
        raise Refused(f"no completion for {shell}", "bash, zsh and fish have one")
    click.echo(found(click.Group("deploy"), {}, "deploy", COMPLETE).source())
