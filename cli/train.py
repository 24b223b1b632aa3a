"""``codec train``."""

import click


@click.group()
def train() -> None:
    """Train."""
