"""`fastproxy bench`: the native load generator."""

from dataclasses import dataclass
from pathlib import Path

import click
import orjson

from fastproxy.errors import StartError

__all__ = ["command"]

_FORM = click.Choice(["none", "bytes", "model"])


@dataclass(frozen=True, slots=True)
class _Mode:
    """When requests are sent; at most one of the first four is given."""

    concurrency: int | None
    rate: float | None
    streams: int | None
    trace: Path | None
    constant: bool
    speedup: float
    tokens: int


@click.command(name="bench")
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
@click.option(
    "--concurrency", type=int, metavar="N", help="Closed loop: N at a time.  [default: 64]"
)
@click.option("--rate", type=float, metavar="PER_SECOND", help="Open loop: sent when due.")
@click.option("--streams", type=int, metavar="N", help="Closed loop of N parallel streams.")
@click.option(
    "--trace",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Open loop: arrivals and lengths of a .csv (Azure) or .jsonl (Mooncake) trace.",
)
@click.option("--poisson/--constant", default=True, help="Gaps of --rate.  [default: poisson]")
@click.option("--speedup", default=1.0, show_default=True, help="Of --trace.")
@click.option("--limit", default=0, show_default=True, help="Requests of --trace at most; 0: all.")
@click.option("--duration", "duration_s", default=10.0, show_default=True, metavar="SECONDS")
@click.option("--warmup", "warmup_s", default=0.0, show_default=True, metavar="SECONDS")
@click.option(
    "--requests", "requests_max", default=0, show_default=True, help="At most; 0: no limit."
)
@click.option("--path", default="/v1/chat/completions", show_default=True)
@click.option("--method", default="POST", show_default=True)
@click.option(
    "--header", "headers", multiple=True, metavar="NAME:VALUE", help="May be given again."
)
@click.option("--body", type=_FORM, default="model", show_default=True)
@click.option("--bytes", "body_bytes", default=0, show_default=True, help="Length of the body.")
@click.option("--model", default="sim", show_default=True)
@click.option("--stream/--no-stream", default=True, help="Ask for a stream.  [default: stream]")
@click.option("--tokens", default=60, show_default=True, help="max_tokens of each request.")
@click.option(
    "--new-connections",
    "new_connection_ratio",
    default=0.0,
    show_default=True,
    metavar="SHARE",
    help="Share of requests on a connection of their own.",
)
@click.option("--http2", is_flag=True, help="HTTP/2 by prior knowledge.")
@click.option(
    "--connections",
    "connections_max",
    default=8192,
    show_default=True,
    metavar="N",
    help="Connections at most; beyond it requests wait.",
)
@click.option(
    "--streams-per-connection",
    default=100,
    show_default=True,
    metavar="N",
    help="Of --http2: requests at a time on one connection.",
)
@click.option("--timeout", "timeout_s", default=60.0, show_default=True, metavar="SECONDS")
@click.option("--pid", "pids", multiple=True, type=int, help="Report its CPU and memory.")
@click.option("--seed", default=1, show_default=True)
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the report as JSON.",
)
@click.option(
    "--html",
    "html_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the report with plots.",
)
@click.option(
    "--options", "raw", metavar="JSON", help="Any options of the generator, over the above."
)
@click.option("--quiet", is_flag=True, help="No progress.")
def command(
    targets: tuple[str, ...],
    *,
    concurrency: int | None,
    rate: float | None,
    streams: int | None,
    trace: Path | None,
    poisson: bool,
    speedup: float,
    limit: int,
    headers: tuple[str, ...],
    body: str,
    body_bytes: int,
    model: str,
    stream: bool,
    tokens: int,
    http2: bool,
    timeout_s: float,
    json_file: Path | None,
    html_file: Path | None,
    raw: str | None,
    quiet: bool,
    **plain: object,
) -> None:
    """Put load on each TARGET (http://HOST:PORT or unix:/path.sock) and measure what comes back."""
    mode = _Mode(concurrency, rate, streams, trace, not poisson, speedup, tokens)
    options = {
        "targets": targets,
        "mode": _mode(mode, limit),
        "headers": _pairs(headers),
        "body": _body(body, body_bytes, model, tokens, stream=stream),
        "protocol": "http2" if http2 else "http1",
        "timeout_ms": round(timeout_s * 1000),
        **plain,
    }
    if raw is not None:
        try:
            options |= orjson.loads(raw)
        except (ValueError, TypeError) as error:
            msg = f"--options: not a JSON object: {error}"
            raise click.UsageError(msg) from None
    _report(_run(options, quiet=quiet), json_file, html_file)


def _mode(mode: _Mode, limit: int) -> dict[str, object]:
    given = [x for x in (mode.concurrency, mode.rate, mode.streams, mode.trace) if x is not None]
    if len(given) > 1:
        msg = "--concurrency, --rate, --streams and --trace exclude each other"
        raise click.UsageError(msg)
    if mode.rate is not None:
        arrivals = "constant" if mode.constant else "poisson"
        return {"kind": "rate", "per_second": mode.rate, "arrivals": arrivals}
    if mode.streams is not None:
        return {"kind": "streams", "streams": mode.streams, "tokens": mode.tokens}
    if mode.trace is not None:
        path = str(mode.trace)
        return {"kind": "trace", "path": path, "speedup": mode.speedup, "limit": limit}
    return {"kind": "concurrency", "connections": mode.concurrency or 64}


def _body(form: str, size: int, model: str, tokens: int, *, stream: bool) -> dict[str, object]:
    if form == "none":
        return {"kind": "none"}
    if form == "bytes":
        return {"kind": "bytes", "bytes": size}
    return {"kind": "model", "model": model, "stream": stream, "bytes": size, "tokens": tokens}


def _pairs(headers: tuple[str, ...]) -> list[tuple[str, str]]:
    pairs = []
    for header in headers:
        name, colon, value = header.partition(":")
        if not colon:
            msg = f'--header "{header}": write NAME:VALUE'
            raise click.UsageError(msg)
        pairs.append((name.strip(), value.strip()))
    return pairs


def _run(options: dict[str, object], *, quiet: bool) -> bytes:
    from rich.console import Console  # noqa: PLC0415 - `bench --help` needs none of it

    from fastproxy._native import bench_run  # noqa: PLC0415

    console = Console(stderr=True)
    document = orjson.dumps(options)
    try:
        if quiet or not console.is_terminal:
            return bench_run(document, lambda _: True)
        with console.status("starting") as status:

            def progress(cells: bytes) -> bool:
                status.update(_progress(orjson.loads(cells)))
                return True

            return bench_run(document, progress)
    except (OSError, ValueError) as error:
        raise StartError(str(error)) from error


def _progress(cells: dict[str, object]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {_short(value)}" for name, value in cells.items())


def _short(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _report(report: bytes, json_file: Path | None, html_file: Path | None) -> None:
    from fastproxy._native import bench_html, bench_text  # noqa: PLC0415 - as above

    click.echo(bench_text(report))
    try:
        if json_file is not None:
            json_file.write_bytes(report + b"\n")
        if html_file is not None:
            html_file.write_text(bench_html(report), encoding="utf-8")
    except OSError as error:
        msg = f"{error.filename}: {error.strerror}"
        raise StartError(msg) from error
