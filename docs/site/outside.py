"""Links from pages to files outside docs/. They work on GitHub; the site has copies of the files."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path, PurePosixPath

_LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")
_OF_FILE = re.compile(r"[a-z]+:|/|#")


def address(path: str) -> str:
    """Where the site has the repository's file `path`."""
    return f"source/{path}"


def linked(root: Path) -> set[str]:
    """Paths, from the root, of files outside docs/ that pages link to, and that those pages link to."""
    found: set[str] = set()
    waiting = [page.relative_to(root).as_posix() for page in (root / "docs").rglob("*.md")]
    while waiting:
        page = waiting.pop()
        for link in _LINK.finditer((root / page).read_text("utf-8")):
            target = _target(link[2], page)
            if target and (root / target).is_file() and target not in found:
                found.add(target)
                waiting += [target] if target.endswith(".md") else []
    return found


def rewritten(text: str, uri: str, root: Path) -> tuple[str, list[str]]:
    """The page `uri` of the site with its links out of docs/ changed, and those that name no file."""
    page = uri.removeprefix("source/") if uri.startswith("source/") else f"docs/{uri}"
    broken: list[str] = []

    def change(link: re.Match[str]) -> str:
        target = _target(link[2], page)
        inside = target is None and not _OF_FILE.match(link[2]) and uri.startswith("source/")
        if target is None and not inside:
            return link[0]
        if target and not (root / target).is_file():
            broken.append(link[2])
            return link[0]
        there = address(target) if target else _resolved(link[2], page).removeprefix("docs/")
        return f"{link[1]}{posixpath.relpath(there, PurePosixPath(uri).parent)}{link[3] or ''}{link[4]}"

    return _LINK.sub(change, text), broken


def _resolved(link: str, page: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), link))


def _target(link: str, page: str) -> str | None:
    """The path from the root that `link` on `page` leads to, if it is outside docs/."""
    if _OF_FILE.match(link):
        return None
    path = _resolved(link, page)
    return None if path.startswith("docs/") else path
