"""`python -m ptspec.schemagen [--check]`."""

from __future__ import annotations

import sys

from ptspec.schemagen.generate import SCHEMAS, generate, render, stale


def main(arguments: list[str]) -> int:
    """Write the generated schemas; with `--check`, list the outdated ones and return 1 if there are any."""
    if arguments == ["--check"]:
        paths = stale()
        for path in paths:
            print(f"schemas/{path} is not current: run python -m ptspec.schemagen", file=sys.stderr)
        return 1 if paths else 0
    for path, schema in generate().items():
        target = SCHEMAS / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(render(schema), "utf-8")
        print(f"schemas/{path}: {len(schema.get('properties', {}))} fields")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
