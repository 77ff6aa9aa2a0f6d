"""What the documents show works."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLES = sorted((ROOT / "deploy/examples").glob("*.yaml"))
BLOCK = re.compile(
    r"(?m)^(?:<!-- (?P<note>[a-z ]+) -->\n)?```(?P<kind>\w+)\n(?P<text>.*?)^```", re.DOTALL
)


def blocks(kind: str) -> list[tuple[str, str]]:
    """(note, text) of the code blocks of the pages that people read first."""
    return [
        (block["note"] or "", block["text"])
        for page in ("README.md", "CONTRIBUTING.md")
        for block in BLOCK.finditer((ROOT / page).read_text())
        if block["kind"] == kind
    ]


def fastproxy(*arguments: str, stdin: str | None = None) -> "subprocess.CompletedProcess[str]":
    """Run the tool."""
    return subprocess.run(
        [sys.executable, "-m", "fastproxy", *arguments],
        input=stdin, capture_output=True, text=True, check=False, timeout=60,
        env=os.environ | {"ENGINE_KEY": "k", "COLUMNS": "100"},
    )  # fmt: skip


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_are_valid(path: Path) -> None:
    """Every file under deploy/examples."""
    done = fastproxy("check", str(path))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("number", range(len(blocks("yaml"))))
def test_configurations_in_the_documents_are_valid(number: int, tmp_path: Path) -> None:
    """Every YAML block that is a configuration."""
    note, text = blocks("yaml")[number]
    if note == "not a configuration":
        return
    assert isinstance(yaml.safe_load(text), dict)
    path = tmp_path / "block.yaml"
    path.write_text(text)
    done = fastproxy("check", str(path))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_python_in_the_documents_runs(number: int) -> None:
    """Every Python block, as a program of its own; one marked `only compiled` is only compiled."""
    note, text = blocks("python")[number]
    ast.parse(text)
    if note == "only compiled":
        return
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_commands_in_the_readme_exist() -> None:
    """Every `fastproxy COMMAND --option` that is shown is one that the tool has."""
    shown = set()
    for _, text in blocks("sh") + blocks("console"):
        for line in text.splitlines():
            found = re.match(r"(?:\$ )?(?:\.venv/bin/)?fastproxy ([a-z]+)(.*)", line)
            if found:
                shown.add((found[1], tuple(re.findall(r"--[a-z-]+", found[2]))))
    assert shown
    for command, options in shown:
        done = fastproxy(command, "--help")
        assert done.returncode == 0, command
        for option in options:
            assert option in done.stdout, f"{command} {option}"


def test_make_targets_in_the_documents_exist() -> None:
    """`make X` in README and CONTRIBUTING is a target."""
    targets = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text()))
    for page in ("README.md", "CONTRIBUTING.md"):
        for name in re.findall(r"`make ([a-z-]+)", (ROOT / page).read_text()):
            assert name in targets, f"{page}: make {name}"


def test_the_generated_pages_are_fresh() -> None:
    """`make docs` would change nothing."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools/generate_docs.py"), "--check"],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
