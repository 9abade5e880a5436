"""The report of `pt init --from` on each file: keys carried over, left out with the reason, and changed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from ptspec.diagnostics import cut
from ptspec.starter.from_configs.draft import Draft, Left

_VALUE = 40
_SECRET = re.compile(r"(token|api_key|password|secret)$")


def as_lines(drafts: Sequence[Draft]) -> Iterator[str]:
    """Yield the lines of all files, each starting with program and method."""
    for draft in drafts:
        keys = len({one.key.partition(".")[0] for one in draft.carried})
        yield f"{draft.file}: {draft.program}, {draft.method.name}; {keys} keys carried over"
        if draft.left:
            yield "  not carried over"
            yield from (f"    {line}" for line in _by_reason(draft.left))
        if draft.differs:
            yield "  otherwise than there"
            yield from (f"    {one}" for one in draft.differs)
        if draft.nothing:
            yield f"  empty or off there: {', '.join(dict.fromkeys(draft.nothing))}"


def _by_reason(left: Sequence[Left]) -> Iterator[str]:
    """Yield a line per reason, with its keys."""
    for why in dict.fromkeys(one.why for one in left):
        keys = ", ".join(f"{one.key} {_shown(one)}" for one in left if one.why == why)
        yield f"{keys}: {why}"


def _shown(left: Left) -> str:
    return "…" if _SECRET.search(left.key) else cut(_text(left.value), _VALUE)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
