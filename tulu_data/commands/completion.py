"""`tulu completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from tulu_data.commands.options import example


@click.command(epilog=example("tulu completion bash"))
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script of SHELL; load it with: eval "$(tulu completion bash)"."""
    from tulu_data.cli import cli

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(cli, {}, "tulu", "_TULU_COMPLETE").source())
