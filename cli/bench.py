"""``codec bench``."""

import click


@click.group()
def bench() -> None:
    """Bench."""
