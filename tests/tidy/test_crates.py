"""The crates depend one way; unsafe has its place and its reason."""

import re
import tomllib
from pathlib import Path

from .source import ROOT, is_test, of_kind, shown

CRATES = ROOT / "native/crates"
MAY_USE = {
    "wire": set(),
    "engine": {"wire"},
    "reactor": {"wire", "engine"},
    "bench": {"wire"},
    "binding": {"wire", "engine", "reactor", "bench"},
}
UNSAFE_CRATES = {"reactor", "binding"}
SAFETY_LINES = 12


def manifest(crate: str) -> dict[str, dict[str, object]]:
    """A crate's Cargo.toml."""
    return tomllib.loads((CRATES / crate / "Cargo.toml").read_text())


def test_the_crates_depend_one_way() -> None:
    """wire <- engine <- reactor <- binding; bench knows only how HTTP/2 is spoken."""
    assert {path.name for path in CRATES.iterdir() if path.is_dir()} == set(MAY_USE)
    for crate, allowed in MAY_USE.items():
        used = set(manifest(crate).get("dependencies", {})) & set(MAY_USE)
        assert used <= allowed, f"{crate} uses {used - allowed}"


def test_the_protocol_crates_forbid_unsafe() -> None:
    """Not denied: forbidden."""
    for crate in ("wire", "engine"):
        text = (CRATES / crate / "src/lib.rs").read_text()
        assert "#![forbid(unsafe_code)]" in text, crate


def test_unsafe_is_named_and_explained() -> None:
    """Only in the reactor and the binding, each block with why it is sound."""
    for path in of_kind(".rs"):
        if CRATES not in path.parents:
            continue
        crate = path.relative_to(CRATES).parts[0]
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines):
            code = line.split("//")[0]
            if not re.search(r"\bunsafe\s*(\{|impl|fn|extern)", code):
                continue
            assert crate in UNSAFE_CRATES, f"{shown(path)}:{number + 1}"
            near = "\n".join(lines[max(0, number - SAFETY_LINES) : number + 1])
            assert "SAFETY" in near or "# Safety" in near, f"{shown(path)}:{number + 1}: no SAFETY"


def test_locks_and_atomics_of_the_engine_have_one_home() -> None:
    """`engine/src/shared/` and the metric cells; nothing else."""
    home = CRATES / "engine/src/shared"
    for path in (CRATES / "engine/src").rglob("*.rs"):
        if home in path.parents or path.stem in {"metrics", "cells", "registry"} or is_test(path):
            continue
        if "metrics" in path.parts:
            continue
        found = re.search(r"\b(Mutex|RwLock|Atomic[A-Z]\w+)\b", _code(path))
        assert found is None, f"{shown(path)}: {found}"


def test_the_sans_io_crates_read_no_clock_and_no_socket() -> None:
    """The driver passes it in."""
    for crate in ("wire", "engine"):
        for path in (CRATES / crate / "src").rglob("*.rs"):
            found = re.search(
                r"Instant::now|SystemTime::now|std::(net::(Tcp|Udp|Unix)|fs::|thread::|env::)",
                _code(path),
            )
            assert found is None, f"{shown(path)}: {found}"


def _code(path: Path) -> str:
    """The file without comments and without its test module."""
    text = path.read_text().split("#[cfg(test)]")[0]
    return re.sub(r"//[^\n]*", "", text)


def test_every_bound_has_its_reason() -> None:
    """A limit without a sentence is a guess."""
    for path in CRATES.glob("*/src/limits.rs"):
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines):
            if re.match(r"\s*pub (const )?[a-zA-Z_]+:", line):
                assert "///" in lines[number - 1], f"{shown(path)}:{number + 1}"
