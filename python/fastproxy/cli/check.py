"""`fastproxy check`: every mistake at once."""

from pathlib import Path

import click

from fastproxy.config.load import load

__all__ = ["command"]


@click.command(name="check")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--resolve/--no-resolve", default=True, help="Look host names up.  [default: resolve]"
)
@click.option("--strict", is_flag=True, help="Warnings are mistakes, too.")
def command(file: Path, *, resolve: bool, strict: bool) -> None:
    """Name every mistake of FILE by line, key, value and what is allowed."""
    loaded = load(file)
    if resolve:
        loaded.plan()
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    if strict and loaded.warnings:
        raise click.exceptions.Exit(2)
    config = loaded.config
    endpoints = sum(len(pool.endpoints) for pool in config.pools.values())
    counts = f"pools {len(config.pools)}, endpoints {endpoints}, routes {len(config.routes)}"
    click.echo(f"{file}: good: {counts}")
