"""Parse `codes.md`: one explanation per code. A test compares its codes with those in the source."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("codes.md")
_HEADING = re.compile(r"^(#|###) (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Explanation:
    """What the error or warning `code` of a `topic` means and what to do, in Markdown."""

    code: str
    topic: str
    text: str


@cache
def explanations() -> Mapping[str, Explanation]:
    """Return all explanations by code, in the order of the file."""
    text = FILE.read_text(encoding="utf-8")
    found, topic = {}, ""
    headings = list(_HEADING.finditer(text))
    for heading, after in zip(headings, [*headings[1:], None], strict=True):
        if heading[1] == "#":
            topic = heading[2]
            continue
        body = text[heading.end() : after.start() if after else None].strip()
        found[heading[2]] = Explanation(heading[2], topic, body)
    return found


def by_topic() -> Mapping[str, list[Explanation]]:
    """Return the explanations grouped by topic, in the order of the file."""
    topics: dict[str, list[Explanation]] = {}
    for one in explanations().values():
        topics.setdefault(one.topic, []).append(one)
    return topics
