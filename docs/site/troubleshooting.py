"""The page of error codes: what `pt explain CODE` prints, with an anchor a code."""

from __future__ import annotations

import re

from ptspec.explain.texts import by_topic

INTRO = """# Troubleshooting by error code

An error names its code in brackets: `recipe.json:28:19: error[unknown-key]: …`. Look it up here, or with
`pt explain CODE`, which prints the same. `pt explain` lists all codes; `pt doctor` looks at the machine. A
message that says that the program itself is wrong is a bug: `PT_DEBUG=1` before the command shows where.
"""


def page() -> str:
    """Markdown."""
    parts = [INTRO.strip()]
    for topic, codes in by_topic().items():
        parts.append(f"## {topic}")
        parts += [f"### {one.code}\n\n{_separated(one.text)}" for one in codes]
    return "\n\n".join(parts) + "\n"


def _separated(text: str) -> str:
    """With an empty line before a list that follows a line of text."""
    return re.sub(r"(?m)^(?![-*] |\s)(.+)\n(?=[-*] )", r"\1\n\n", text)
