"""`fastproxy schema`: for editors and other tools."""

import json

import click

from fastproxy.config.schema import schema

__all__ = ["command"]


@click.command(name="schema")
def command() -> None:
    """Print the JSON Schema of the configuration file."""
    click.echo(json.dumps(schema(), indent=2))
