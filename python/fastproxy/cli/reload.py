"""`fastproxy reload`: by the admin API."""

import click
import orjson

from fastproxy.admin.client import ask
from fastproxy.errors import AdminError

__all__ = ["command"]


@click.command(name="reload")
@click.option(
    "--admin",
    default="127.0.0.1:9090",
    show_default=True,
    metavar="ADDR",
    help="The admin listener of the running proxy.",
)
@click.option(
    "--token",
    envvar="FASTPROXY_ADMIN_TOKEN",
    metavar="TOKEN",
    help="Its admin token; also FASTPROXY_ADMIN_TOKEN.",
)
def command(admin: str, token: str | None) -> None:
    """Make a running proxy read its configuration again; on a mistake it keeps the old one."""
    try:
        status, body = ask(admin, "POST", "/reload", token=token)
    except ValueError as error:
        msg = f'--admin "{admin}": {error}'
        raise click.UsageError(msg) from None
    try:
        answer = orjson.loads(body)
    except ValueError:
        answer = {}
    if status == 200:
        click.echo(f"reloaded, generation {answer.get('generation')}")
        return
    if "mistakes" in answer:
        lines = "\n".join(str(mistake) for mistake in answer["mistakes"])
        msg = f"refused, the old configuration goes on:\n{lines}"
        raise AdminError(msg)
    msg = f"{status}: {answer.get('detail', body.decode(errors='replace'))}"
    raise AdminError(msg)
