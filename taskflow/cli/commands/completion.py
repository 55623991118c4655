"""`taskflow completion`: the script by which a shell completes commands, options and words."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from taskflow.cli.groups import Choice

VARIABLE = "_TASKFLOW_COMPLETE"
SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", type=Choice(SHELLS))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the script that completes `taskflow` in a shell.

    \b
    bash: taskflow completion bash > ~/.local/share/bash-completion/completions/taskflow
    zsh:  taskflow completion zsh > ~/.zfunc/_taskflow   (with ~/.zfunc in $fpath)
    fish: taskflow completion fish > ~/.config/fish/completions/taskflow.fish
    """
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(context.find_root().command, {}, "taskflow", VARIABLE).source())
