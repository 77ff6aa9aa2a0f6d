"""Keep the Rust lock file in the repository without a registry's address in it.

`Cargo.lock` names the registry that it was resolved against, and is therefore not committed.
`Cargo.lock.in` is the same file with every registry source replaced by a placeholder:

    freeze   Cargo.lock -> Cargo.lock.in    after a dependency changed
    thaw     Cargo.lock.in -> Cargo.lock    before the first cargo call of a fresh clone
    check    fail when the two differ       in `make check`

The address that `thaw` puts back is learnt by resolving one small crate with the local cargo, so
that whatever registry the machine uses is the one that is written.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PLACEHOLDER = "@registry@"
SOURCE = re.compile(r'^source = "([^"]+)"$', re.MULTILINE)
NATIVE = Path(__file__).resolve().parent.parent / "native"
FOLDERS = (NATIVE, NATIVE / "fuzz", NATIVE.parent / "benches" / "codec")
LOCK, COMMITTED = "Cargo.lock", "Cargo.lock.in"
PROBE = """[package]
name = "probe"
version = "0.0.0"
edition = "2021"

[dependencies]
{name} = "={version}"
"""


def frozen(lock: str) -> str:
    """The text of a lock file with placeholders for its sources."""
    return SOURCE.sub(f'source = "{PLACEHOLDER}"', lock)


def thawed(text: str, source: str) -> str:
    """The text of a lock file with its sources put back."""
    return text.replace(f'source = "{PLACEHOLDER}"', f'source = "{source}"')


def first_dependency(text: str) -> tuple[str, str]:
    """Name and version of the first package that comes from the registry."""
    for block in text.split("[[package]]"):
        if PLACEHOLDER in block:
            name = re.search(r'name = "([^"]+)"', block)
            version = re.search(r'version = "([^"]+)"', block)
            if name and version:
                return name[1], version[1]
    msg = "cargo_lock: no registry package in Cargo.lock.in"
    raise SystemExit(msg)


def local_source(text: str) -> str:
    """What the cargo of this machine calls its registry."""
    name, version = first_dependency(text)
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder)
        (probe / "src").mkdir()
        (probe / "src/lib.rs").touch()
        (probe / "Cargo.toml").write_text(PROBE.format(name=name, version=version))
        subprocess.run(
            ["cargo", "generate-lockfile", "--quiet"],
            cwd=probe,
            check=True,
        )
        found = SOURCE.search((probe / "Cargo.lock").read_text())
    if found is None:
        msg = "cargo_lock: cargo wrote no source into the probe's lock file"
        raise SystemExit(msg)
    return found[1]


def write_if_changed(path: Path, text: str) -> None:
    """Replace the file in one step; an unchanged one keeps its content and gets a new time."""
    if not path.exists() or path.read_text() != text:
        partial = path.with_suffix(".partial")
        partial.write_text(text)
        partial.replace(path)
    os.utime(path)


def thaw(folder: Path) -> None:
    """Write the lock file where it is missing or differs."""
    lock, text = folder / LOCK, (folder / COMMITTED).read_text()
    if not lock.exists() or frozen(lock.read_text()) != text:
        write_if_changed(lock, thawed(text, local_source(text)))
    os.utime(lock)


def main(arguments: list[str]) -> int:
    """Run one of the three commands, for each workspace of the repository."""
    match arguments:
        case ["freeze"]:
            for folder in FOLDERS:
                if (folder / LOCK).exists():
                    write_if_changed(folder / COMMITTED, frozen((folder / LOCK).read_text()))
        case ["thaw"]:
            for folder in FOLDERS:
                if (folder / COMMITTED).exists():
                    thaw(folder)
        case ["check"]:
            for folder in FOLDERS:
                lock, committed = folder / LOCK, folder / COMMITTED
                if lock.exists() and frozen(lock.read_text()) != committed.read_text():
                    sys.stderr.write(f"{committed} is stale: run `make lock`\n")
                    return 1
        case _:
            sys.stderr.write("usage: cargo_lock.py freeze | thaw | check\n")
            return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
