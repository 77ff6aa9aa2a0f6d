"""Files, functions and lines have a length."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from .source import Function, is_test, of_kind, python_functions, rust_functions, shown

EXCEPTIONS: dict[str, dict[str, Any]] = tomllib.loads(
    (Path(__file__).parent / "exceptions.toml").read_text()
)
FILE_LINES_MAX, TEST_LINES_MAX = 500, 800
FUNCTION_LINES_MAX = 70
COLUMNS_MAX = 100
SOURCES = of_kind(".rs", ".py", ".pyi")


def functions(path: Path) -> list[Function]:
    """All functions of a file."""
    text = path.read_text()
    return list(rust_functions(text) if path.suffix == ".rs" else python_functions(text))


def test_files_are_short() -> None:
    """500 lines, 800 for tests."""
    for path in SOURCES:
        count = len(path.read_text().splitlines())
        allowed = TEST_LINES_MAX if is_test(path) else FILE_LINES_MAX
        exception = EXCEPTIONS["files"].get(shown(path))
        if exception is None:
            assert count <= allowed, f"{shown(path)}: {count} lines; split it by what it does"
        else:
            assert exception["reason"]
            assert count <= exception["lines"], f"{shown(path)} grew to {count} lines"
            assert count > allowed, f"{shown(path)} needs no exception any more"


def test_functions_are_short() -> None:
    """70 lines."""
    seen = set()
    for path in SOURCES:
        for function in functions(path):
            key = f"{shown(path)}::{function.name}"
            exception = EXCEPTIONS["functions"].get(key)
            if exception is None:
                assert function.lines <= FUNCTION_LINES_MAX, (
                    f"{shown(path)}:{function.line}: {function.name} has {function.lines} lines"
                )
            else:
                seen.add(key)
                assert exception["reason"]
                assert function.lines <= exception["lines"], f"{key} grew"
    assert seen == set(EXCEPTIONS["functions"]), "an exception for nothing"


@pytest.mark.parametrize("path", of_kind(".rs", ".py", ".pyi", ".yaml"), ids=shown)
def test_lines_are_short(path: Path) -> None:
    """100 columns; a line that holds one long word may be longer."""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        long_word = max(map(len, line.split()), default=0) > COLUMNS_MAX - 20
        assert len(line) <= COLUMNS_MAX or long_word, f"{shown(path)}:{number}: {len(line)} columns"


def test_the_rust_scanner_counts() -> None:
    """Braces in literals and comments are none; bodiless functions have one line."""
    text = "fn a() {\n    let s = \"}{\"; // }\n    let c = '{';\n}\ntrait T { fn b(&self); }\n"
    assert [(one.name, one.lines) for one in rust_functions(text)] == [("a", 4)]
