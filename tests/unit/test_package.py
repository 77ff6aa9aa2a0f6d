"""The public surface: names, imports, examples in docstrings."""

import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fastproxy
from fastproxy import errors

ROOT = Path(fastproxy.__file__).parent
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages([str(ROOT)], "fastproxy.")
    if module.name != "fastproxy._native"
)
# The only ones that may import the native module.
NATIVE = re.compile(r"fastproxy\.(server|primitives|cli|demo|config\.tls)\b")


def test_public_names() -> None:
    """Exactly these, sorted."""
    assert fastproxy.__all__ == [
        *("Channel", "Config", "Picker", "Proxy", "__version__", "errors"),
        *("parse_request_head", "run"),
    ]
    assert fastproxy.__all__ == sorted(fastproxy.__all__)
    assert dir(fastproxy) == fastproxy.__all__
    for name in fastproxy.__all__:
        assert getattr(fastproxy, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = fastproxy.Nothing


def test_error_names() -> None:
    """Each is in the tree that the module's text draws."""
    for name in errors.__all__:
        if name != "Mistake":
            assert issubclass(getattr(errors, name), errors.Error)
            assert name in str(errors.__doc__)


@pytest.mark.parametrize("name", MODULES)
def test_each_module_alone(name: str) -> None:
    """No import cycle: every module can be the first."""
    code = f"import {name}"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    """Examples in docstrings run."""
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


@pytest.mark.parametrize("name", MODULES)
def test_who_imports_the_native_module(name: str) -> None:
    """The border is narrow."""
    module = importlib.import_module(name)
    text = Path(str(module.__file__)).read_text()
    imports = re.search(
        r"^\s*(from fastproxy(\._native)? import .*\b_native\b|from fastproxy\._native)",
        text,
        re.MULTILINE,
    )
    if imports and name != "fastproxy":
        assert NATIVE.match(name), name


def test_every_module_says_what_it_has() -> None:
    """`__all__`, but in packages that only group."""
    for name in MODULES:
        module = importlib.import_module(name)
        assert module.__doc__, name
        if not hasattr(module, "__path__"):
            assert hasattr(module, "__all__"), name
