"""What is installed is what was meant. The heavier checks are in `make wheel`."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import fastproxy
from fastproxy import _native

ROOT = Path(__file__).resolve().parent.parent.parent


def test_one_version() -> None:
    """Cargo's is Python's, the tool's and the changelog's."""
    cargo = tomllib.loads((ROOT / "native/Cargo.toml").read_text())
    version = cargo["workspace"]["package"]["version"]
    assert fastproxy.__version__ == version
    assert _native.__version__ == version
    assert importlib.metadata.version("fastproxy") == version
    said = subprocess.run(
        [sys.executable, "-m", "fastproxy", "--version"], capture_output=True, text=True, check=True
    ).stdout
    assert version in said


def test_the_stable_abi() -> None:
    """One binary for every Python from 3.11 on."""
    assert _native.__file__ is not None
    assert Path(_native.__file__).name == "_native.abi3.so"


def test_the_pins_agree() -> None:
    """What pyproject.toml pins is what the tests ran with."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locked = dict(
        re.findall(r"(?m)^([a-z0-9-]+)==([^ ]+)", (ROOT / "requirements/runtime.txt").read_text())
    )
    for line in project["dependencies"]:
        name, version = line.lower().split("==")
        assert locked[name] == version, name


def test_importing_costs_little() -> None:
    """The package itself pulls in nothing heavy."""
    code = "import sys, fastproxy; print(sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    for heavy in ("httpx", "rich", "yaml", "prometheus_client"):
        assert f"'{heavy}'" not in loaded
