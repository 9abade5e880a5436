"""Pages that are made of other files when the site is built."""

from __future__ import annotations

from pathlib import Path

import other_names
import reference
import troubleshooting


def pages(root: Path) -> dict[str, str]:
    """Markdown by the page's address in the site."""
    return {
        "decisions/index.md": _decisions(root / "docs" / "decisions"),
        "troubleshooting.md": troubleshooting.page(),
        "reference/other_tools.md": other_names.page(),
        **reference.pages(root),
    }


def _decisions(folder: Path) -> str:
    lines = ["# Decisions", "", "Why things are as they are: one a file, numbered by subject.", ""]
    for path in sorted(folder.glob("0*.md")):
        title = path.read_text("utf-8").partition("\n")[0].lstrip("# ")
        lines.append(f"- [{title}]({path.name})")
    return "\n".join(lines) + "\n"
