"""``codec completion``: the script that teaches a shell our verbs and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command(short_help="The completion script for a shell.", no_args_is_help=True)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a completion script for a shell.

    \b
    Examples:
      codec completion bash > ~/.local/share/bash-completion/completions/codec
      codec completion zsh > ~/.zfunc/_codec
      codec completion fish > ~/.config/fish/completions/codec.fish
    """  # noqa: D301
    chosen = get_completion_class(shell)
    assert chosen is not None
    script = chosen(context.find_root().command, {}, "codec", "_CODEC_COMPLETE")
    click.echo(script.source_template % script.source_vars())
