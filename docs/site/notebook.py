"""The notebook of the guide: run when the site is built, and made into a page with what its cells gave."""

from __future__ import annotations

import base64
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LINKED = ("data", "recipes", "schemas")
"""What the notebook may read beside docs/."""
LIMIT = 300
"""Seconds that one cell may take."""
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def page(path: Path) -> str:
    """Markdown of the notebook at `path`, run in a copy of its folder. Raises what a cell raised."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as made:
        root = Path(made).resolve()
        here = root / path.parent.name
        here.mkdir()
        for name in LINKED:
            (root / name).symlink_to(path.parent.parent / name)
        client = NotebookClient(
            notebook,
            timeout=LIMIT,
            kernel_name="python3",
            resources={"metadata": {"path": str(here)}},
            extra_arguments=["--log-level=ERROR"],  # a warning that it talks over a local port
        )
        client.execute()
        text = "\n\n".join(part for cell in notebook.cells for part in _cell(cell))
        return text.replace(str(root), "…") + "\n"


def _cell(cell: Any) -> Iterator[str]:
    if cell.cell_type == "markdown":
        yield cell.source
        return
    yield f"```python\n{cell.source}\n```"
    for output in cell.outputs:
        yield from _output(output)


def _output(output: Any) -> Iterator[str]:
    if output.output_type == "stream":
        if output.name == "stdout":
            yield _text(output.text)
        return
    data = output.get("data", {})
    if "image/png" in data:
        picture = base64.b64encode(base64.b64decode(data["image/png"])).decode()
        yield f'<img alt="What the cell above drew" src="data:image/png;base64,{picture}">'
    elif "text/html" in data:
        yield f'<div class="output">{data["text/html"]}</div>'
    elif "text/plain" in data:
        yield _text(data["text/plain"])


def _text(text: str) -> str:
    return "```text\n" + _ESCAPES.sub("", text).rstrip("\n") + "\n```"
