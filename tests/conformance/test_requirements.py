"""Each clause that the sources cite has a test, and each test that is named exists."""

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

from differential import h2_answers, h2_scripts

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
CITATION = re.compile(r"RFC \d{4} §\d+(?:\.\d+)*")
CLAUSES: dict[str, dict[str, Any]] = tomllib.loads((HERE / "requirements.toml").read_text())[
    "clauses"
]


def cited() -> set[str]:
    """Every clause in the sources of the two protocol crates."""
    found: set[str] = set()
    for crate in ("wire", "engine"):
        for path in (ROOT / "native/crates" / crate / "src").rglob("*.rs"):
            found |= set(CITATION.findall(path.read_text()))
    return found


def test_every_citation_has_a_row() -> None:
    missing = sorted(cited() - set(CLAUSES))
    assert not missing, missing


def test_every_row_has_tests_that_exist() -> None:
    rows = {
        kind: {row["name"] for row in tomllib.loads((HERE / f"{kind}.toml").read_text())["row"]}
        for kind in ("requests", "responses")
    }
    rows |= {"h2": set(h2_scripts.WRONG), "h2 answers": set(h2_answers.WRONG)}
    for clause, row in CLAUSES.items():
        assert row["says"], clause
        assert row.get("tests") or row.get("rust"), clause
        for test in row.get("tests", []):
            if "::" in test:
                file, name = test.split("::")
                assert name in functions(ROOT / "tests" / file), test
            else:
                kind, name = test.split(": ", 1)
                assert name in rows[kind], test


def functions(path: Path) -> set[str]:
    """Names of the functions of a test file."""
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
