"""`fastproxy engine`: the simulated inference engine, by itself."""

import signal
import threading

import click
import orjson

from fastproxy.errors import StartError

__all__ = ["command"]


@click.command(name="engine")
@click.option(
    "--listen",
    "listens",
    multiple=True,
    default=("127.0.0.1:8000",),
    show_default=True,
    metavar="ADDR",
    help="HOST:PORT or unix:/path.sock; may be given again.",
)
@click.option(
    "--model", "models", multiple=True, default=("sim",), show_default=True, metavar="NAME"
)
@click.option("--models-strict", is_flag=True, help="404 for another model.")
@click.option("--slots", default=256, show_default=True, help="Requests at a time; 0: no limit.")
@click.option(
    "--queue", "queue_max", type=int, help="Waiting requests before 429.  [default: no limit]"
)
@click.option(
    "--first-token",
    "first_token_ms",
    default=20.0,
    show_default=True,
    metavar="MS",
    help="From the slot to the first token.",
)
@click.option(
    "--gap", "gap_ms", default=20.0, show_default=True, metavar="MS", help="Between tokens."
)
@click.option("--tokens", default=60, show_default=True, help="Of an answer without max_tokens.")
@click.option("--token-bytes", default=5, show_default=True)
@click.option(
    "--steps",
    type=click.Choice(["aligned", "staggered"]),
    default="aligned",
    show_default=True,
    help="All streams emit together, as real engines do, or each by its own clock.",
)
@click.option(
    "--unary", "unary_ms", type=float, metavar="MS", help="Service time of unary answers."
)
@click.option(
    "--response-bytes", default=0, show_default=True, help="Pad unary bodies to this size."
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="FAULT=SHARE",
    help="As reset:5=0.1, stall:3=0.01, status:503=0.2; may be given again.",
)
@click.option("--seed", default=1, show_default=True)
@click.option(
    "--options", "raw", metavar="JSON", help="Any options of the engine, over the ones above."
)
def command(raw: str | None, **given: object) -> None:
    """Run a simulated inference engine until a signal ends it."""
    from fastproxy._native import bench_engine  # noqa: PLC0415 - `engine --help` needs none

    options = _options(given)
    if raw is not None:
        try:
            options |= orjson.loads(raw)
        except (ValueError, TypeError) as error:
            msg = f"--options: not a JSON object: {error}"
            raise click.UsageError(msg) from None
    try:
        engine = bench_engine(orjson.dumps(options))
    except (OSError, ValueError) as error:
        raise StartError(str(error)) from error
    for address in engine.addresses():
        click.echo(f"engine on {address}")
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    ended.wait()
    engine.stop()
    click.echo(engine.stats())


def _options(given: dict[str, object]) -> dict[str, object]:
    """The engine's own names and units."""
    faults = []
    for fault in given.pop("faults"):  # type: ignore[attr-defined]
        name, equals, share = str(fault).rpartition("=")
        try:
            faults.append({"fault": name, "ratio": float(share)})
        except ValueError:
            equals = ""
        if not equals:
            msg = f'--fault "{fault}": write FAULT=SHARE, as reset:5=0.1'
            raise click.UsageError(msg)
    unary_ms = given.pop("unary_ms")
    return {
        "listen": given.pop("listens"),
        "first_token_us": _micro(given.pop("first_token_ms")),
        "gap_us": _micro(given.pop("gap_ms")),
        "unary_us": None if unary_ms is None else _micro(unary_ms),
        "faults": faults,
        **given,
    }


def _micro(milliseconds: object) -> int:
    return round(float(str(milliseconds)) * 1000)
