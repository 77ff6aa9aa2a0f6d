"""Names say what a thing is; nothing is hidden at module level; nothing names a registry."""

import ast
import re
from pathlib import Path

import pytest

from .source import ROOT, of_kind, shown, tracked

BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers"}
WORDS = re.compile(r"[A-Za-z]+")
# Spelt in halves, so that this file does not name what it looks for.
REGISTRIES = re.compile(
    "|".join(("py" + r"pi\.org", "crates" + r"\.io", "files.python" + "hosted"))
)
BORDER = {
    "server", "primitives", "observe/metrics", "config/compile", "config/tls", "cli", "__init__",
    "demo",
}  # fmt: skip
"""Modules and packages of fastproxy that may import the native one."""


@pytest.mark.parametrize("path", tracked(), ids=shown)
def test_no_file_is_called_nothing(path: Path) -> None:
    """`utils` never goes away once it is there."""
    for part in path.relative_to(ROOT).parts:
        assert not BANNED_NAMES & set(WORDS.findall(part.lower())), shown(path)


def test_no_registry_is_named() -> None:
    """Where packages come from is the machine's business."""
    for path in tracked():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        found = REGISTRIES.search(text)
        assert found is None, f"{shown(path)}: {found}"


@pytest.mark.parametrize("path", of_kind(".py"), ids=shown)
def test_no_hidden_state(path: Path) -> None:
    """No `global`, and no module-level name that waits to be filled in."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        assert not isinstance(node, ast.Global), f"{shown(path)}:{node.lineno}: global"
    for statement in tree.body:
        value = getattr(statement, "value", None)
        is_placeholder = isinstance(value, ast.Constant) and value.value is None
        assert not (is_placeholder and isinstance(statement, ast.Assign | ast.AnnAssign)), (
            f"{shown(path)}:{statement.lineno}: a placeholder at module level"
        )


def test_who_may_touch_the_border() -> None:
    """Only the modules named may import the native one."""
    package = ROOT / "python/fastproxy"
    for path in of_kind(".py"):
        if package not in path.parents:
            continue
        imports = [
            node
            for node in ast.walk(ast.parse(path.read_text()))
            if (isinstance(node, ast.ImportFrom) and _native_from(node))
            or (isinstance(node, ast.Import) and any("_native" in n.name for n in node.names))
        ]
        module = path.relative_to(package).with_suffix("").as_posix()
        allowed = module in BORDER or module.split("/")[0] in BORDER
        assert not imports or allowed, f"{shown(path)} imports fastproxy._native"


def _native_from(node: ast.ImportFrom) -> bool:
    return "_native" in (node.module or "") or any(name.name == "_native" for name in node.names)


def test_todo_names_its_place() -> None:
    """A TODO without an RFD or an issue is a wish."""
    for path in of_kind(".rs", ".py"):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if re.search(r"\b(TODO|FIXME|XXX)\b", line) and "tidy" not in shown(path):
                assert re.search(r"RFD \d{4}", line), f"{shown(path)}:{number}"
