"""What the house rules look at: the tracked files, and the functions in them."""

import ast
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
RUST_FUNCTION = re.compile(
    r"^\s*(?:pub(?:\([^)]*\))?\s+)?(?:(?:const|async|unsafe|extern(?:\s+\"[^\"]*\")?)\s+)*fn\s+(\w+)"
)
RUST_NOISE = re.compile(
    r"""//[^\n]*|/\*.*?\*/|b?r(\#*)".*?"\1|b?"(?:\\.|[^"\\])*"|b?'(?:\\(?:x..|u\{[^}]*\}|.)|[^\\'])'""",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Function:
    """A function and how long it is."""

    name: str
    line: int
    lines: int


@cache
def tracked() -> tuple[Path, ...]:
    """Every file that is, or would be, in the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return tuple(ROOT / name for name in sorted(set(listed.split("\n"))) if (ROOT / name).is_file())


def of_kind(*suffixes: str) -> list[Path]:
    """Files with one of the suffixes."""
    return [path for path in tracked() if path.suffix in suffixes]


def shown(path: Path) -> str:
    """A path as it is written in exceptions and messages."""
    return path.relative_to(ROOT).as_posix()


def is_test(path: Path) -> bool:
    """Whether a file is test code."""
    name = shown(path)
    return name.startswith("tests/") or "/tests/" in name or path.name in {"tests.rs", "test.rs"}


def blanked(text: str) -> str:
    """Rust without comments and literals; line breaks stay."""
    return RUST_NOISE.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)


def rust_functions(text: str) -> Iterator[Function]:
    """Functions of a Rust file, by their braces."""
    lines = blanked(text).split("\n")
    for start, line in enumerate(lines):
        found = RUST_FUNCTION.match(line)
        if found is None:
            continue
        depth, opened = 0, False
        for end in range(start, len(lines)):
            for letter in lines[end]:
                if letter == "{":
                    depth, opened = depth + 1, True
                elif letter == "}":
                    depth -= 1
                elif letter == ";" and not opened and depth == 0:
                    opened = True
            if opened and depth <= 0:
                yield Function(found[1], start + 1, end - start + 1)
                break


def python_functions(text: str) -> Iterator[Function]:
    """Functions of a Python file."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield Function(node.name, node.lineno, node.end_lineno - node.lineno + 1)
