"""`fastproxy serve`: the proxy as a process."""

import asyncio
import contextlib
import logging
from pathlib import Path

import click
import msgspec

from fastproxy.config.load import Loaded, load, of_upstreams, validate
from fastproxy.config.model import AccessLog, Config, Upgrade

__all__ = ["command"]


@click.command(name="serve")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option(
    "--upstream",
    "upstreams",
    multiple=True,
    metavar="URL",
    help="An endpoint, http://HOST:PORT or unix:/path.sock; may be given again.",
)
@click.option("--listen", metavar="ADDR", help="Where clients connect.  [default: 127.0.0.1:8080]")
@click.option(
    "--admin", metavar="ADDR", help="Where operators look, or off.  [default: 127.0.0.1:9090]"
)
@click.option(
    "--workers", metavar="N", help="Threads, auto, or 0 for the event loop.  [default: auto]"
)
@click.option(
    "--access-log", metavar="PATH", help="A file, or - for standard output.  [default: off]"
)
@click.option(
    "--takeover",
    is_flag=True,
    help="Take the listeners of the process that serves now; it finishes and ends.",
)
@click.option(
    "--upgrade-socket",
    metavar="PATH",
    help="Where a successor asks: a path, auto, or off.  [default: auto]",
)
@click.option("--plain-asyncio", is_flag=True, help="Run on asyncio's own loop rather than uvloop.")
def command(
    file: Path | None,
    upstreams: tuple[str, ...],
    listen: str | None,
    admin: str | None,
    workers: str | None,
    access_log: str | None,
    upgrade_socket: str | None,
    *,
    takeover: bool,
    plain_asyncio: bool,
) -> None:
    """Serve a configuration FILE, or --upstream URLs without one.

    SIGTERM drains, SIGHUP reloads (as does a change of FILE), SIGUSR1 reopens the access log,
    SIGUSR2 starts the installed version beside this one, which takes over.
    """
    given = {
        "--listen": listen,
        "--admin": admin,
        "--workers": workers,
        "--access-log": access_log,
        "--upgrade-socket": upgrade_socket,
    }
    if file is not None:
        extra = [name for name, value in given.items() if value is not None]
        if upstreams:
            extra.append("--upstream")
        if extra:
            msg = f"{', '.join(extra)} and a FILE exclude each other; write it in {file}"
            raise click.UsageError(msg)
        loaded = load(file)
    elif upstreams:
        config = _without_file(upstreams, listen, admin, workers, access_log)
        loaded = Loaded(_upgradable(config, upgrade_socket))
    else:
        msg = "give a configuration FILE, or --upstream http://HOST:PORT"
        raise click.UsageError(msg)
    logging.basicConfig(format="%(name)s: %(message)s", level=logging.WARNING)
    _run(loaded, takeover=takeover, plain_asyncio=plain_asyncio)


def _without_file(
    upstreams: tuple[str, ...],
    listen: str | None,
    admin: str | None,
    workers: str | None,
    access_log: str | None,
) -> Config:
    config = of_upstreams(
        upstreams,
        listen=listen or "127.0.0.1:8080",
        admin=None if admin == "off" else admin or "127.0.0.1:9090",
    )
    if workers not in (None, "auto"):
        if not str(workers).isdecimal():
            msg = f'--workers: "{workers}": must be auto or a number'
            raise click.UsageError(msg)
        config = msgspec.structs.replace(config, workers=int(str(workers)))
    if access_log not in (None, "off"):
        config = msgspec.structs.replace(config, access_log=AccessLog(path=str(access_log)))
    return validate(config)


def _upgradable(config: Config, path: str | None) -> Config:
    if path in (None, "auto"):
        return config
    upgrade = None if path == "off" else Upgrade(socket=str(path))
    return validate(msgspec.structs.replace(config, upgrade=upgrade))


def _run(loaded: Loaded, *, takeover: bool, plain_asyncio: bool) -> None:
    from fastproxy.server.run import serve  # noqa: PLC0415 - `serve --help` needs no core

    def say(line: str) -> None:
        # Who read it may be gone, as the pipe of a process that ours took over from.
        with contextlib.suppress(OSError):
            click.echo(f"fastproxy: {line}", err=True)

    if plain_asyncio:
        asyncio.run(serve(loaded, say, takeover=takeover))
        return
    import uvloop  # noqa: PLC0415 - not with --plain-asyncio

    uvloop.run(serve(loaded, say, takeover=takeover))
