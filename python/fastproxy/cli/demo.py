"""`fastproxy demo`: see tokens flow within two seconds."""

import click

__all__ = ["command"]


@click.command(name="demo")
@click.option(
    "--model",
    type=click.Choice(["smollm2"]),
    help="A real model, from the extra fastproxy[demo].  [default: simulated engines]",
)
@click.option("--port", default=8080, show_default=True, help="Or the next free one.")
@click.option(
    "--duration",
    "duration_s",
    type=float,
    metavar="SECONDS",
    help="End by itself.  [default: Ctrl-C ends it]",
)
def command(model: str | None, port: int, duration_s: float | None) -> None:
    """Start two engines and a gateway, stream one reply, and watch what flows."""
    import uvloop  # noqa: PLC0415 - `demo --help` needs none of it

    from fastproxy.demo.show import show  # noqa: PLC0415

    uvloop.run(show(model, port, duration_s))
