"""The `fastproxy` command. One command a file, imported when it is used.

What a user did wrong is one clear line on standard error and exit code 2, never a traceback.
"""

from importlib import import_module
from typing import cast

import click

from fastproxy.errors import ConfigError, Error

__all__ = ["main"]

_COMMANDS = {
    "serve": "Serve a configuration file, or --upstream URLs without one.",
    "check": "Name every mistake of a configuration file.",
    "explain": "Say where a request would go, and why.",
    "reload": "Make a running proxy read its configuration again.",
    "schema": "Print the JSON Schema of the configuration file.",
    "demo": "Start two engines and a gateway, and watch tokens flow.",
    "bench": "Put load on an HTTP service and measure what comes back.",
    "engine": "Run a simulated inference engine.",
    "relay": "Run the byte relay that proxies are measured against.",
}
_HIDDEN = frozenset(("relay",))


class Commands(click.Group):
    """Finds commands by name, without importing those that are only listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the table above."""
        del ctx
        return [name for name in _COMMANDS if name not in _HIDDEN]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module."""
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        return cast("click.Command", import_module(f"fastproxy.cli.{cmd_name}").command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List names and summaries."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _COMMANDS[name]) for name in self.list_commands(ctx)])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As usual, but a wrong name gets the nearest right one."""
        name = args[0]
        if name not in _COMMANDS and not name.startswith("-"):
            from difflib import get_close_matches  # noqa: PLC0415 - only on this mistake

            near = get_close_matches(name, _COMMANDS, n=1)
            hint = (
                f"did you mean {near[0]}?"
                if near
                else f"there are: {', '.join(self.list_commands(ctx))}"
            )
            ctx.fail(f'no such command "{name}"; {hint}')
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; errors of users become one message and exit code 2."""
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            click.echo(str(error), err=True)
            count = len(error.mistakes)
            click.echo(f"fastproxy: {count} mistake{'s' if count > 1 else ''}", err=True)
            ctx.exit(2)
        except Error as error:
            click.echo(f"fastproxy: {error}", err=True)
            ctx.exit(2)


def _version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        from fastproxy._native import __version__  # noqa: PLC0415 - only when asked for

        click.echo(f"fastproxy {__version__}")
        ctx.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Show the version and end.",
)
def main() -> None:
    """A data-plane proxy for AI inference."""
