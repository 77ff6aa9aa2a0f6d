"""The command: help, exit codes, and one clear line for what a user did wrong."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fastproxy.cli import main

GOOD = 'pools: {a: {endpoints: ["http://10.0.0.1:80"]}}\n'

HELP = """\
Usage: fastproxy [OPTIONS] COMMAND [ARGS]...

  A data-plane proxy for AI inference.

Options:
  --version   Show the version and end.
  -h, --help  Show this message and exit.

Commands:
  serve    Serve a configuration file, or --upstream URLs without one.
  check    Name every mistake of a configuration file.
  explain  Say where a request would go, and why.
  reload   Make a running proxy read its configuration again.
  schema   Print the JSON Schema of the configuration file.
  demo     Start two engines and a gateway, and watch tokens flow.
  bench    Put load on an HTTP service and measure what comes back.
  engine   Run a simulated inference engine.
"""


def fastproxy(*arguments: str, **environment: str) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main, arguments, prog_name="fastproxy", env=environment)


def test_help() -> None:
    """As committed here: a change of the surface is a change of this test."""
    result = fastproxy("--help")
    assert (result.exit_code, result.output) == (0, HELP)


@pytest.mark.parametrize(
    "name", ["serve", "check", "explain", "reload", "schema", "demo", "bench", "engine", "relay"]
)
def test_help_of_commands(name: str) -> None:
    """Each option has words."""
    result = fastproxy(name, "--help")
    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: fastproxy {name} ")


def test_help_is_quick() -> None:
    """No command is imported for it. Best of three, for the machine may be busy."""

    def once() -> float:
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "fastproxy", "--help"], capture_output=True, check=True
        )
        return time.perf_counter() - start

    assert min(once() for _ in range(3)) < 0.4
    code = (
        "import sys, fastproxy.cli; print([m for m in ('rich', 'msgspec', "
        "'fastproxy._native') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["serv"], 'no such command "serv"; did you mean serve?'),
        (["x"], 'no such command "x"; there are: serve, check, explain'),
        (["serve"], "give a configuration FILE, or --upstream http://HOST:PORT"),
        (
            ["serve", "f", "--workers", "1", "--upstream", "x"],
            "--workers, --upstream and a FILE exclude each other; write it in f",
        ),
        (
            ["serve", "--upstream", "ftp://x"],
            (
                'pools.default.endpoints[0].url: "ftp://x": unsupported scheme; '
                "allowed: http, https, h2c, unix"
            ),
        ),
        (
            ["serve", "--upstream", "http://x", "--listen", "h"],
            'listen[0].address: "h": the port is missing; write HOST:PORT or unix:/path.sock',
        ),
        (
            ["serve", "--upstream", "http://x", "--workers", "all"],
            '--workers: "all": must be auto or a number',
        ),
        (["check", "none.yaml"], "none.yaml: cannot be read: No such file or directory"),
        (["explain"], "give a configuration FILE, or --admin HOST:PORT of a running proxy"),
        (["explain", "f", "--header", "x"], '--header "x": write NAME:VALUE'),
        (["reload", "--admin", "nowhere"], '--admin "nowhere": the port is missing'),
        (
            ["reload", "--admin", "127.0.0.1:1"],
            "no admin API answers on 127.0.0.1:1: [Errno 111] Connection refused",
        ),
        (["engine", "--fault", "reset"], '--fault "reset": write FAULT=SHARE, as reset:5=0.1'),
        (["engine", "--options", "["], "--options: not a JSON object"),
        (["engine", "--options", '{"slotz": 1}'], "unknown field `slotz`"),
        (
            ["bench", "http://x", "--rate", "1", "--streams", "2"],
            "--concurrency, --rate, --streams and --trace exclude each other",
        ),
        (["demo", "--model", "gpt"], "'gpt' is not 'smollm2'"),
    ],
)
def test_mistakes_of_users(arguments: list[str], said: str) -> None:
    """Exit code 2 and no traceback."""
    result = fastproxy(*arguments)
    assert result.exit_code == 2, result.output
    assert said in result.output
    assert "Traceback" not in result.output


def test_check(tmp_path: Path) -> None:
    """Good, with warnings, and bad."""
    file = tmp_path / "f.yaml"
    file.write_text(GOOD)
    result = fastproxy("check", str(file))
    assert (result.exit_code, result.output) == (
        0,
        f"{file}: good: pools 1, endpoints 1, routes 0\n",
    )
    file.write_text(GOOD + "routes: [{pool: a}, {pool: a}]\n")
    result = fastproxy("check", str(file))
    assert result.exit_code == 0
    assert f"warning: {file}:2: routes[1]: never reached" in result.output
    assert fastproxy("check", "--strict", str(file)).exit_code == 2
    file.write_text("pools: {a: {endpoints: ftp://x}}\nvia: 5\n")
    result = fastproxy("check", str(file))
    assert result.exit_code == 2
    assert result.output == (
        f'{file}:1: pools.a.endpoints[0].url: "ftp://x": unsupported scheme; allowed: http, https, '
        "h2c, unix\n"
        f"{file}:2: via: 5: must be a string, not a number; quote it\n"
        "fastproxy: 2 mistakes\n"
    )


def test_check_resolves_names(tmp_path: Path) -> None:
    """Unless told not to."""
    file = tmp_path / "f.yaml"
    file.write_text("pools: {a: {endpoints: 'http://name.invalid:80'}}\n")
    assert fastproxy("check", "--no-resolve", str(file)).exit_code == 0
    result = fastproxy("check", str(file))
    assert result.exit_code == 2
    assert f"{file}:1: pools.a.endpoints[0].url: " in result.output
    assert "the host name cannot be resolved: " in result.output


def test_schema() -> None:
    """It is JSON."""
    result = fastproxy("schema")
    assert json.loads(result.output)["$defs"]["Pool"]


def test_explain(tmp_path: Path) -> None:
    """From a file, as text and as JSON."""
    file = tmp_path / "f.yaml"
    file.write_text(
        GOOD + "routes: [{pool: a, match: {model: 'm*', headers: {x-team: red}}, name: r}]\n"
    )
    result = fastproxy("explain", str(file), "--model", "m1", "--header", "X-Team: red")
    assert result.exit_code == 0, result.output
    assert "route: r\n" in result.output
    assert "endpoint: http://10.0.0.1:80\n" in result.output
    result = fastproxy("explain", str(file), "--model", "other", "--json")
    assert json.loads(result.output)["route"] is None


def test_version() -> None:
    """Of the native build."""
    assert fastproxy("--version").output.startswith("fastproxy 0.")
