"""What the documents point at is there."""

import itertools
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [
    path
    for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("RFDs/*.md"), *ROOT.glob("d*/**/*.md")])
    if ".venv" not in path.parts and "dist" not in path.parts
]
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)#\s]+)(?:#([^)\s]+))?\)")


def anchors(path: Path) -> set[str]:
    """Anchors that headings make."""
    found = set()
    for line in path.read_text().splitlines():
        if line.startswith("#"):
            words = re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower())
            found.add(words.replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_resolve(page: Path) -> None:
    """Every relative link leads to a file, and its anchor to a heading."""
    for target, anchor in LINK.findall(page.read_text()):
        if "://" in target or target.startswith("mailto:"):
            continue
        place = (page.parent / target).resolve()
        assert place.exists(), f"{page.name}: {target}"
        if anchor and place.suffix == ".md":
            assert anchor in anchors(place), f"{page.name}: {target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_one_title(page: Path) -> None:
    """One H1 a page, outside code."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    assert len(re.findall(r"(?m)^# ", text)) == 1


def test_the_stages_of_the_architecture_exist() -> None:
    """The stage table names files of `engine/src/exchange/`, in the order of life."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    table = text.split("## 2.")[1].split("## 3.")[0]
    named = re.findall(r"(?m)^\| `([a-z]+)` \|", table)
    assert named[0] == "accept"
    assert named[-1] == "log"
    for stage in named:
        assert (ROOT / f"native/crates/engine/src/exchange/{stage}.rs").exists(), stage


def test_paths_in_the_architecture_exist() -> None:
    """Every path in code quotes that looks like one of ours."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    roots = ("native/", "python/", "tests/", "tools/", "benches/", "deploy/", "RFDs/")
    for quoted in re.findall(r"`([^`\s]+)`", text):
        if quoted.startswith(roots) and "{" not in quoted and "*" not in quoted:
            assert (ROOT / quoted).exists(), quoted


def test_architecture_is_short() -> None:
    """300 lines: what is longer is not read."""
    assert len((ROOT / "ARCHITECTURE.md").read_text().splitlines()) <= 300


def test_every_dependency_has_its_sentence() -> None:
    """The table says why each one is there, and names none that is not."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    table = text.split("## 7.")[1].split("## 8.")[0]
    explained = set(re.findall(r"`([a-z0-9_-]+)`", table))
    workspace = tomllib.loads((ROOT / "native/Cargo.toml").read_text())["workspace"]
    ours = set(workspace["dependencies"]) - {"wire", "engine", "reactor", "bench"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = itertools.chain(*project["optional-dependencies"].values())
    listed = [*project["dependencies"], *extras]
    names = {re.split(r"[=<>~ \[;]", one)[0].lower() for one in listed}
    assert ours | names <= explained, (ours | names) - explained


def test_the_rfds_have_their_header() -> None:
    """Number, title, state; the number is the file's."""
    for page in sorted((ROOT / "RFDs").glob("[0-9]*.md")):
        text = page.read_text()
        assert text.startswith("---\n"), page.name
        header = dict(
            line.split(": ", 1)
            for line in text.split("---")[1].strip().splitlines()
            if ": " in line
        )
        assert header["rfd"] == page.name[:4], page.name
        assert header["state"] in {
            "prediscussion", "ideation", "discussion", "published", "committed", "abandoned",
        } or page.name.startswith("0000"), page.name  # fmt: skip
        for section in ("Problem", "Constraints", "Options", "Determination", "Consequences",
                        "How we shall know", "Open questions"):  # fmt: skip
            assert f"## {section}" in text, f"{page.name}: no section {section}"
