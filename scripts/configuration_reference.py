"""Writes docs/configuration.md from `cardd.settings`; with --check, only says whether it is current."""

import sys
from pathlib import Path
from typing import Any

import msgspec

from cardd.settings import ENVIRONMENT_PREFIX, Settings

PAGE = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"

_INTRODUCTION = """\
# Configuration

Generated from `cardd/settings.py` by `make docs`; `make lint` checks that it is current.

Nothing needs to be set. A setting is taken from, in this order: the command line, the environment, the TOML file
that `CARDD_CONFIG` names, the default. Unknown names in the file are refused. The setting `pki.ca_algorithm` is

```toml
[pki]
ca_algorithm = "ec_p256"
```

in the file and `CARDD_PKI__CA_ALGORITHM=ec_p256` in the environment. The state directory is by default
`cardd` under `$XDG_STATE_HOME` (`~/.local/state`), and the runtime directory is `run` in it; `make run` uses `.state`
in the project's tree.
"""

Schema = dict[str, Any]


def reference() -> str:
    """Return the page."""
    components = msgspec.json.schema(Settings)["$defs"]
    root = components["Settings"]["properties"]
    scalars = {name: schema for name, schema in root.items() if not _section_of(schema)}
    parts = [_INTRODUCTION, "## General\n\n" + _table("", scalars)]
    for name, schema in root.items():
        if section := _section_of(schema):
            described = components[section]
            parts.append(
                f"## `[{name}]`\n\n{described['description']}\n\n{_table(name, described['properties'])}"
            )
    return "\n".join(parts)


def _section_of(schema: Schema) -> str | None:
    references = [schema, *schema.get("anyOf", ()), *schema.get("allOf", ())]
    return next((each["$ref"].rpartition("/")[2] for each in references if "$ref" in each), None)


def _table(section: str, properties: dict[str, Schema]) -> str:
    lines = ["| setting | environment | values | default | meaning |", "|---|---|---|---|---|"]
    for name, schema in properties.items():
        path = f"{section}__{name}" if section else name
        default = (
            f"`{msgspec.json.encode(schema['default']).decode()}`" if "default" in schema else "see above"
        )
        meaning = schema.get("description", "")
        lines.append(
            f"| `{name}` | `{ENVIRONMENT_PREFIX}{path.upper()}` | {_values(schema)} | {default} | {meaning} |"
        )
    return "\n".join(lines) + "\n"


def _values(schema: Schema) -> str:
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is not None and most is not None:
        return f"{least} to {most}"
    kind = str(schema["type"])
    return {"string": "text", "integer": "number", "boolean": "true, false"}.get(kind, kind)


def main() -> int:
    """Write the page, or compare it."""
    page = reference()
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page, encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page:
        return 0
    print("docs/configuration.md is not what cardd/settings.py says — run: make docs", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
