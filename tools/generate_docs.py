"""Write the pages that are made from code: configuration, metrics, command line.

`--check` writes nothing and fails when a page is stale.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
MADE = "<!-- Made by `make docs`. -->\n"
TABLE = ROOT / "native/crates/engine/src/metrics/table.rs"
ROW = re.compile(
    r"^\s+\w+: (?P<scope>\w+) (?P<kind>Counter|Gauge|Histogram)[^,]*, (?P<unit>\w+),\s+"
    r'"(?P<name>\w+)"\s+(?P<label>None|Some\(\("(?P<key>\w+)".*?\)\)),\s+"(?P<help>[^"]+)";',
    re.MULTILINE,
)
LABELS = {
    "Listener": "listener",
    "Route": "route",
    "Pool": "pool, modality",
    "Certificate": "listener, name",
    "Endpoint": "pool, endpoint",
    "Room": "pool",
    "Slot": "pool, endpoint",
    "Worker": "",
    "Process": "",
}


def tool(*arguments: str) -> str:
    """What the tool prints, at a fixed width."""
    code = "import fastproxy.__main__ as m; m.main()"
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.argv[0] = 'fastproxy'; {code}", *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": "100", "PATH": "/usr/bin:/bin", "NO_COLOR": "1"},
    ).stdout


def metrics() -> str:
    """docs/metrics.md, from the one table."""
    lines = [MADE, "# Metrics", "", "All of them are at `/metrics` of the admin listener.", ""]
    lines += ["| name | kind | labels | what |", "|---|---|---|---|"]
    for row in ROW.finditer(TABLE.read_text()):
        labels = ", ".join(part for part in (LABELS[row["scope"]], row["key"]) if part)
        name, kind = f"`fastproxy_{row['name']}`", row["kind"].lower()
        lines.append(f"| {name} | {kind} | {labels or '-'} | {row['help']} |")
    lines += others()
    return "\n".join(lines) + "\n"


def others() -> list[str]:
    """Rows for what the control plane counts."""
    from fastproxy.observe.metrics import Reloads  # noqa: PLC0415 - needs the native module
    from fastproxy.server.upgrade import upgrades  # noqa: PLC0415

    families = [Reloads().family(), *upgrades(None)]
    return [
        f"| `{family.name}` | {family.kind} | {', '.join(family.samples[0].labels) or '-'} "
        f"| {family.help} |"
        for family in families
    ]


def commands() -> str:
    """docs/cli.md, from `--help`."""
    overview = tool("--help")
    names = re.findall(r"(?m)^  ([a-z]+)  ", overview.split("Commands:")[1])
    parts = [f"{MADE}\n# Command line\n\n```text\n{overview}```\n"]
    parts += [f"\n## {name}\n\n```text\n{tool(name, '--help')}```\n" for name in names]
    return "".join(parts)


def shape(schema: dict[str, Any]) -> str:
    """A type in a word or two."""
    if "enum" in schema:
        return ", ".join(f"`{one}`" for one in schema["enum"])
    for several in ("anyOf", "oneOf"):
        if several in schema:
            words = dict.fromkeys(shape(one) for one in schema[several])
            return " or ".join(word for word in words if word)
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    if schema.get("type") == "array":
        return f"list of {shape(schema.get('items', {}))}"
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"names and {shape(schema['additionalProperties'])}"
    return str(schema.get("type", "any"))


def section(name: str, schema: dict[str, Any]) -> str:
    """One struct as a table."""
    lines = [f"\n## {name}\n", str(schema.get("description", "")), ""]
    lines += ["| key | value | default | what |", "|---|---|---|---|"]
    required = set(schema.get("required", []))
    for key, value in schema.get("properties", {}).items():
        default = "required" if key in required else f"`{json.dumps(value.get('default'))}`"
        text = value.get("description", "").replace("|", "\\|")
        lines.append(f"| `{key}` | {shape(value).replace('|', ', ')} | {default} | {text} |")
    return "\n".join(lines) + "\n"


def configuration() -> str:
    """docs/configuration.md, from the JSON Schema."""
    schema = json.loads(tool("schema"))
    parts = [
        MADE,
        "\n# Configuration\n\nYAML or the same shape in Python. Unknown keys are errors.\n",
    ]
    definitions = schema.get("$defs", {})
    top = schema if "properties" in schema else definitions.get("Config", {})
    parts.append(section("Config", top))
    # What may be written as one string, too, is one of several forms.
    parts += [
        section(name, {"description": one.get("description", ""), **form})
        for name, one in definitions.items()
        for form in (one, *one.get("anyOf", ()), *one.get("oneOf", ()))
        if name != "Config" and "properties" in form
    ]
    return "".join(parts)


PAGES = {"metrics.md": metrics, "cli.md": commands, "configuration.md": configuration}


def main() -> int:
    """Write or check."""
    stale = []
    DOCS.mkdir(exist_ok=True)
    for name, make in PAGES.items():
        path, text = DOCS / name, make()
        if path.exists() and path.read_text() == text:
            continue
        stale.append(name)
        if "--check" not in sys.argv:
            path.write_text(text)
    if stale and "--check" in sys.argv:
        sys.stderr.write(f"stale: {', '.join(stale)}; run `make docs`\n")
        return 1
    sys.stdout.write(f"{len(PAGES)} pages, {len(stale)} changed\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
