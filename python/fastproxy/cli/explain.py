"""`fastproxy explain`: where a request would go, from a file or from a running proxy."""

from pathlib import Path

import click
import orjson

from fastproxy.errors import AdminError

__all__ = ["command"]

_FIRST = (
    "route",
    "why",
    "status",
    "endpoint",
    "endpoint_why",
    "priority",
    "url",
    "name",
    "matches",
)


@click.command(name="explain")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option(
    "--admin", metavar="ADDR", help="Ask the running proxy whose admin listens here instead."
)
@click.option(
    "--token",
    envvar="FASTPROXY_ADMIN_TOKEN",
    metavar="TOKEN",
    help="Its admin token; also FASTPROXY_ADMIN_TOKEN.",
)
@click.option("--model", metavar="NAME", help="The body's model.")
@click.option("--path", default="/v1/chat/completions", show_default=True)
@click.option("--method", default="POST", show_default=True)
@click.option(
    "--header", "headers", multiple=True, metavar="NAME:VALUE", help="May be given again."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    file: Path | None,
    admin: str | None,
    token: str | None,
    model: str | None,
    path: str,
    method: str,
    headers: tuple[str, ...],
    *,
    as_json: bool,
) -> None:
    """Say which route, pool and endpoint a request would meet, and why.

    From a configuration FILE, or with --admin from a running proxy, with the load of this moment.
    """
    if (file is None) == (admin is None):
        msg = "give a configuration FILE, or --admin HOST:PORT of a running proxy"
        raise click.UsageError(msg)
    question = orjson.dumps(
        {"method": method, "path": path, "headers": _pairs(headers), "model": model}
    )
    answer = _of_running(admin, token, question) if admin else _of_file(file, question)
    if as_json:
        click.echo(answer)
        return
    _show(orjson.loads(answer), "")


def _pairs(headers: tuple[str, ...]) -> list[tuple[str, str]]:
    pairs = []
    for header in headers:
        name, colon, value = header.partition(":")
        if not colon or not name.strip():
            msg = f'--header "{header}": write NAME:VALUE'
            raise click.UsageError(msg)
        pairs.append((name.strip().lower(), value.strip()))
    return pairs


def _of_running(admin: str, token: str | None, question: bytes) -> bytes:
    from fastproxy.admin.client import ask  # noqa: PLC0415 - a file needs no client

    try:
        status, body = ask(admin, "POST", "/explain", token=token, body=question)
    except ValueError as error:
        msg = f'--admin "{admin}": {error}'
        raise click.UsageError(msg) from None
    if status != 200:
        msg = f"{status}: {body.decode(errors='replace')}"
        raise AdminError(msg)
    return body


def _of_file(file: Path | None, question: bytes) -> bytes:
    from fastproxy._native import Core  # noqa: PLC0415 - a running proxy needs none here
    from fastproxy.config.load import load  # noqa: PLC0415

    assert file is not None
    # No name has to be looked up to say where a request would go.
    core = Core(load(file).plan(answers={}), orjson.dumps({"workers": 0, "seed": 1}))
    return core.explain(question)


def _show(value: object, indent: str) -> None:
    """Print nested data as indented `key: value` lines, the answer before the detail."""
    items: list[tuple[object, object]] = list(enumerate(value)) if isinstance(value, list) else []
    if isinstance(value, dict):
        rank: dict[object, int] = {key: n for n, key in enumerate(_FIRST)}
        items = sorted(value.items(), key=lambda item: rank.get(item[0], len(_FIRST)))
    for key, inner in items:
        label = f"- {key}" if isinstance(key, int) else str(key).replace("_", " ")
        if isinstance(inner, dict | list) and inner:
            click.echo(f"{indent}{label}:")
            _show(inner, f"{indent}  ")
        else:
            shown = "-" if inner is None or inner in ([], {}) else inner
            click.echo(f"{indent}{label}: {shown}")
