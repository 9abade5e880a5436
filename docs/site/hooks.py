"""MkDocs hooks: pages that are made of other files, links out of docs/, and what Markdown lost in silence."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import generated
import notebook
import outside
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File, Files

log = get_plugin_logger("ptspec")
DOCS = Path(__file__).parent.parent
ROOT = DOCS.parent
NOTEBOOK = "notebook"

# A list or a table right after a line of text: GitHub makes one, Python-Markdown a paragraph.
_LOST = re.compile(r"<p>(?:(?!</p>).)*?\n\s*(?:[-*] |\d+\. |\|)", re.DOTALL)


def on_files(files: Files, *, config: Any) -> Files:
    """Add the generated pages, and the files outside docs/ that a page links to."""
    for address, text in generated.pages(ROOT).items():
        files.append(File.generated(config, address, content=text))
    shown = files.get_file_from_path(f"{NOTEBOOK}.ipynb")
    if shown is not None:
        files.remove(shown)
    files.append(File.generated(config, f"{NOTEBOOK}.md", content=notebook.page(DOCS / f"{NOTEBOOK}.ipynb")))
    for address in outside.linked(ROOT):
        files.append(File.generated(config, outside.address(address), abs_src_path=str(ROOT / address)))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:
    """Point links out of docs/ to the copies in the site."""
    text, broken = outside.rewritten(markdown, page.file.src_uri, ROOT)
    for link in broken:
        log.warning("%s links to %s, which is no file of this repository", page.file.src_uri, link)
    return text


def on_page_content(html: str, *, page: Any, config: Any, files: Files) -> str:
    """Warn of a list or a table that was taken for text."""
    plain = re.sub(r"<(pre|code)\b.*?</\1>", "", html, flags=re.DOTALL)
    for lost in _LOST.finditer(plain):
        log.warning(
            "%s: a list or table without an empty line before it: %r", page.file.src_uri, lost[0][-80:]
        )
    return html
