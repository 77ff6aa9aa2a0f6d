"""`fastproxy relay`: the floor of every comparison, one epoll thread that copies bytes."""

import signal
import threading

import click
import orjson

from fastproxy.errors import StartError

__all__ = ["command"]


@click.command(name="relay", hidden=True)
@click.option("--listen", default="127.0.0.1:8080", show_default=True, metavar="ADDR")
@click.option("--upstream", required=True, metavar="ADDR", help="HOST:PORT or unix:/path.sock.")
def command(listen: str, upstream: str) -> None:
    """Copy bytes between clients and one upstream until a signal ends it."""
    from fastproxy._native import bench_relay  # noqa: PLC0415 - `relay --help` needs none

    try:
        relay = bench_relay(orjson.dumps({"listen": [listen], "upstream": [upstream]}))
    except (OSError, ValueError) as error:
        raise StartError(str(error)) from error
    for address in relay.addresses():
        click.echo(f"relay on {address}")
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    ended.wait()
    relay.stop()
